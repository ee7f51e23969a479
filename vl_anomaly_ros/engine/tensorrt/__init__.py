# SPDX-License-Identifier: Apache-2.0
"""TensorRT and TensorRT-RTX: engines of a bundle's graphs, built and kept."""
