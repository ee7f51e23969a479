# SPDX-License-Identifier: Apache-2.0
"""What drivers write into the time of a point, and what cannot be told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vl_anomaly_ros.decoding.point_times import offsets_ns

STAMP_NS = 1_700_000_000_123_456_789
TRUE = np.array([0, 12_345_678, 99_000_000])


@pytest.mark.parametrize(
    ("values", "tolerance_ns"),
    [
        (TRUE.astype(np.uint32), 0),
        (TRUE.astype(np.int32), 0),
        ((TRUE * 1e-9).astype(np.float32), 5),
        (TRUE * 1e-9, 0),
        ((STAMP_NS // 10**9) + (STAMP_NS % 10**9 + TRUE) * 1e-9, 200),
        ((STAMP_NS + TRUE).astype(np.float64), 200),
        ((STAMP_NS + TRUE).astype(np.uint64), 0),
        (STAMP_NS + TRUE, 0),
        (TRUE, 0),
    ],
    ids=["uint32", "int32", "float32 s", "float64 s", "clock s", "clock ns as float64", "uint64", "clock ns", "ns"],
)
def test_every_way_in_which_drivers_tell_it(values: Any, tolerance_ns: int) -> None:
    offsets, note = offsets_ns("t", values, STAMP_NS)
    assert note == ""
    assert offsets is not None
    assert offsets.dtype == np.int64
    assert np.abs(offsets - TRUE).max() <= tolerance_ns


def test_times_before_the_stamp() -> None:
    """Velodyne stamps the last packet of a turn."""
    offsets, _ = offsets_ns("time", np.array([-0.1, -0.05, 0.0], np.float32), STAMP_NS)
    assert offsets is not None
    assert np.abs(offsets - [-100_000_000, -50_000_000, 0]).max() <= 5


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (np.array([0, 2**32 - 1], np.uint32), "got 0 to 4.29497e+09 (uint32)"),
        (np.array([0.0, np.nan]), "got nan to nan (float64)"),
        (np.array([0.0, np.inf], np.float32), "got 0 to inf (float32)"),
        (np.array([1e300]), "got 1e+300 to 1e+300 (float64)"),
        (np.array([0.0, 50.0]), "got 0 to 50 (float64)"),
        (np.array([2**64 - 1], np.uint64), "(uint64)"),
        (np.array([-(2**63)], np.int64), "(int64)"),
    ],
)
def test_times_far_from_the_stamp_are_not_used(values: Any, got: str) -> None:
    offsets, note = offsets_ns("time", values, STAMP_NS)
    assert offsets is None
    assert note.startswith("times of the points: expected field time within 1 s of the stamp 1700000000.123 s, got")
    assert note.endswith(got)


def test_near_the_start_of_the_clock_two_readings_fit() -> None:
    """Simulated time begins at 0: half a second may be one of the clock, or one after the stamp."""
    offsets, note = offsets_ns("timestamp", np.array([0.4, 0.5]), 500_000_000)
    assert offsets is None
    assert "which may be both at 0.500 s" in note


def test_no_points_have_no_times() -> None:
    offsets, note = offsets_ns("t", np.zeros(0, np.uint32), STAMP_NS)
    assert offsets is not None
    assert (len(offsets), note) == (0, "")
