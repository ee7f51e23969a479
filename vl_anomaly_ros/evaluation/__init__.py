# SPDX-License-Identifier: Apache-2.0
"""How good a bundle is: metrics, calibration and evaluation on labelled images."""
