# SPDX-License-Identifier: Apache-2.0
"""Zones against the truth, with sums worked out by hand."""

from __future__ import annotations

import math

import pytest

from vl_anomaly_ros.demo.score import Score, distance_m, score
from vl_anomaly_ros.replay.birdseye import TrueObject
from vl_anomaly_ros.replay.records import FrameRecord, ZoneRecord


def thing(number: int, x: float, y: float = 0.0, anomaly: bool = True) -> TrueObject:
    return TrueObject(number, "dog", (x, y, 0.5), (2.0, 1.0, 1.0), 0.0, anomaly)


def zone(x: float, y: float = 0.0, points: int = 20, distance: float | None = None) -> ZoneRecord:
    away = math.hypot(x, y) if distance is None else distance
    return ZoneRecord(1, 1, "MEASURED", "", (x, y, 0.5), (1.0, 1.0, 1.0), 0.0, away, points, "base_link", "dog", ())


def test_found_missed_and_elsewhere() -> None:
    records = [
        FrameRecord(1, "c", ok=True, zones=(zone(29.2, distance=29.3), zone(12, 8))),
        FrameRecord(2, "c", ok=True, zones=(zone(19.0, distance=19.2), zone(12.2, -5, points=0))),
    ]
    truth = {
        1: [thing(1, 30.0), thing(2, 25, 12), thing(3, 90.0), thing(4, 12, 8, anomaly=False)],
        2: [thing(1, 20.0), thing(2, 12, -5)],
    }
    # Object 1 begins at 29 m, then 19 m: errors 0.3 and 0.2. Object 2 has only a zone without depth, 3 is too far, and
    # 4 is known, so the zone on it is elsewhere.
    expected = Score(objects=2, found=1, first_seen_m=29.0, distance_error_m=0.25, elsewhere=1, zones=3)
    assert vars(score(records, truth)) == pytest.approx(vars(expected))
    assert score(records, truth).lines()[0] == (
        "truth:   1 of 2 anomalies within 40 m got a measured zone, first at 29 m, distance error 0.25 m (medians)"
    )


def test_without_truth_or_zones() -> None:
    empty = score([FrameRecord(1, "c", ok=True)], {})
    assert (empty.objects, empty.zones) == (0, 0)
    assert empty.lines() == ["truth:   no anomaly came into view"]
    missed = score([FrameRecord(1, "c", ok=True)], {1: [thing(1, 10)]})
    assert missed.lines()[0] == "truth:   0 of 1 anomalies within 40 m got a measured zone"


def test_distance_to_a_turned_box() -> None:
    turned = TrueObject(1, "log", (0.0, 10.0, 0.2), (4.0, 2.0, 0.4), math.pi / 2, True)
    assert distance_m(turned, (0.0, 0.0)) == pytest.approx(8.0)
    assert distance_m(turned, (4.0, 10.0)) == pytest.approx(3.0)
    assert distance_m(turned, (0.5, 9.0)) == 0.0
