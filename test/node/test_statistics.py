# SPDX-License-Identifier: Apache-2.0
"""Counts and times behind the diagnostics."""

from __future__ import annotations

import pytest
from results import make_frame

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")

from vl_anomaly_ros.node.statistics import Statistics


def test_rate_age_and_percentiles() -> None:
    statistics = Statistics(started_s=100.0)
    assert statistics.snapshot(103.0).age_s == 3.0
    for i in range(11):
        statistics.image_received(110.0 + 0.1 * i)
        statistics.frame_judged({"engine": float(i)})
    snapshot = statistics.snapshot(111.5)
    assert snapshot.rate_hz == pytest.approx(10.0)
    assert snapshot.age_s == pytest.approx(0.5)
    assert snapshot.times_ms["engine"] == pytest.approx((5.0, 9.9))
    assert (snapshot.received, snapshot.judged, snapshot.failed) == (11, 11, 0)


def test_drops_are_counted_by_reason_and_a_failure_lasts_until_the_next_success() -> None:
    statistics = Statistics(started_s=0.0)
    for reason in ("disabled", "replaced", "replaced"):
        statistics.image_dropped(reason)
    statistics.frame_failed("engine broke")
    snapshot = statistics.snapshot(1.0)
    assert snapshot.dropped == {"disabled": 1, "replaced": 2}
    assert (snapshot.last_failed, snapshot.last_error, snapshot.failed) == (True, "engine broke", 1)
    statistics.frame_judged({})
    after = statistics.snapshot(2.0)
    assert not after.last_failed
    assert after.last_error == "engine broke", "what happened is still told"


def test_inputs_count_what_was_absent_and_keep_the_last_skew() -> None:
    statistics = Statistics(started_s=0.0)
    statistics.inputs(make_frame())
    bare = make_frame(points=None, T_output_camera=None, missing=("no cloud", "no transform"))
    statistics.inputs(bare)
    snapshot = statistics.snapshot(1.0)
    assert (snapshot.without_points, snapshot.without_transforms) == (1, 1)
    assert snapshot.skew_s == pytest.approx(0.1)
    assert (snapshot.no_points, snapshot.no_transforms, snapshot.no_calibration) == (True, True, True)
    assert snapshot.missing == ("no cloud", "no transform")
