# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules of a bundle's three graphs. Only training and export import this package."""
