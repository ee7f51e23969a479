# SPDX-License-Identifier: Apache-2.0
"""Camera model, transforms, ground, clustering and hazard zones. Plain NumPy: no ROS, no network."""
