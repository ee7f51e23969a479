# SPDX-License-Identifier: Apache-2.0
"""Camera model, transforms, ground, clustering and hazard zones. NumPy and Numba: no ROS, no network."""
