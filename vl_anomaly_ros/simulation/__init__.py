# SPDX-License-Identifier: Apache-2.0
"""Simulated driving world: scenes from a seed, camera, LiDAR, labels and 3D truth."""
