# SPDX-License-Identifier: Apache-2.0
"""The shipped simulated drive, played through the node and shown."""
