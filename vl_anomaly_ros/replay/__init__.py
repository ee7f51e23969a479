# SPDX-License-Identifier: Apache-2.0
"""Recorded drives: read a bag, judge its frames, write results and a report."""
