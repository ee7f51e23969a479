# SPDX-License-Identifier: Apache-2.0
"""Bundles, backends and the run of the two graphs on one image."""
