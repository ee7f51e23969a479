# SPDX-License-Identifier: Apache-2.0
"""A record is the same whether it is made from a result or from the messages of that result."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vl_anomaly_ros.geometry.scene import R_OPTICAL_LEVEL
from vl_anomaly_ros.replay.interfaces import ANOMALIES, ZONES, typestore
from vl_anomaly_ros.replay.messages import anomaly_array, hazard_zone_array, output_messages
from vl_anomaly_ros.replay.records import FrameRecord, record_of_messages, record_of_result
from vl_anomaly_ros.replay.summary import summarise
from vl_anomaly_ros.types import (
    AnomalyLabel,
    DepthStatus,
    DoubleArray,
    Frame,
    FrameResult,
    HazardZone,
    NameSource,
    Region,
    Timing,
)

IMAGE = np.zeros((20, 30, 3), np.uint8)


def result(zone_frame: str, R_zone_level: DoubleArray, seed: int = 0) -> FrameResult:
    rng = np.random.default_rng(seed)
    regions, zones = [], []
    for i, source in enumerate(NameSource, start=1):
        x0, y0, w, h = (int(v) for v in rng.integers(1, 10, 4))
        label = AnomalyLabel("" if source is NameSource.NONE else f"thing {i}", source, 0.7, False, (("x", 0.2),))
        middle = (x0 + w / 2, y0 + h / 2)
        box = (x0, y0, x0 + w, y0 + h)
        regions.append(Region(i, box, w * h, middle, float(rng.random()), (0.1, 0.2, 0.3), label))
        zones.append(
            HazardZone(
                id=i, region_id=i, status=DepthStatus(i - 1), reason="because", center_m=tuple(rng.normal(0, 30, 3)),
                size_m=tuple(rng.uniform(0.1, 5, 3)), yaw_rad=float(rng.uniform(-math.pi / 2, math.pi / 2)),
                position_covariance=np.eye(3), footprint_m=rng.normal(0, 10, (5, 2)), z_range_m=(0.0, 1.0),
                distance_m=float(rng.uniform(1, 80)), point_indices=np.arange(i, dtype=np.int64),
            )
        )  # fmt: skip
    frame = Frame(1_700_000_000_123_456_789, "camera", "optical", IMAGE, "base_link")
    return FrameResult(
        frame, ok=True, regions=tuple(regions), zones=tuple(zones), zone_frame=zone_frame, R_zone_level=R_zone_level,
        engine="onnxruntime-cpu/x", timing=Timing(10.0, 15.0),
    )  # fmt: skip


@pytest.mark.parametrize(("frame_id", "R"), [("base_link", np.eye(3)), ("optical", R_OPTICAL_LEVEL)])
@pytest.mark.parametrize("seed", range(20))
def test_messages_say_what_the_result_says(frame_id: str, R: DoubleArray, seed: int) -> None:
    given = result(frame_id, R, seed)
    store = typestore()
    anomalies, zones = (
        store.deserialize_cdr(store.serialize_cdr(message, kind), kind)
        for message, kind in ((anomaly_array(given), ANOMALIES), (hazard_zone_array(given, "base_link"), ZONES))
    )
    straight, through = record_of_result(given), record_of_messages(anomalies, zones, "optical", 15.0)
    assert through.as_json() == straight.as_json()
    assert [z.reason for z in through.zones] == [z.reason for z in straight.zones]
    for a, b in zip(straight.zones, through.zones):
        assert np.allclose(a.footprint_m, b.footprint_m, atol=1e-4)
    assert (through.engine_ms, through.total_ms, through.engine) == (10.0, 15.0, "onnxruntime-cpu/x")


def test_a_failed_result_is_unknown_on_both_ways() -> None:
    given = FrameResult(Frame(5, "camera", "optical", IMAGE, "base_link"), ok=False, reason="the engine gave NaN")
    messages = output_messages(given, IMAGE, "base_link")
    assert sorted(messages) == ["anomalies", "hazard_zones", "overlay"]
    through = record_of_messages(messages["anomalies"], messages["hazard_zones"], "optical", 1.0)
    assert through.as_json() == record_of_result(given).as_json()
    assert through.as_json() == {
        "stamp_ns": 5, "camera": "camera", "regions": [], "zones": [], "ok": False, "reason": "the engine gave NaN",
    }  # fmt: skip


def test_anomalies_without_their_zones_are_no_judgement() -> None:
    record = record_of_messages(anomaly_array(result("base_link", np.eye(3))), None, "optical", 1.0)
    assert (record.ok, record.regions) == (False, ())
    assert "no hazard zones" in record.reason


def test_summary_counts_every_image() -> None:
    judged = record_of_result(result("base_link", np.eye(3)))
    failed = FrameRecord(1, "camera", ok=False, reason="x")
    summary = summarise([judged, failed], frames_in=3, dropped=1, method="vl4ad", backend="b", bundle_sha256="c")
    assert (summary["frames_in"], summary["frames_out"], summary["frames_failed"], summary["dropped"]) == (3, 1, 2, 1)
    assert summary["zones_by_status"] == {"MEASURED": 1, "SPARSE": 1, "STALE": 1, "UNKNOWN": 1}
    assert summary["timing_ms"] == {
        "engine": {"p50": 10.0, "p99": 10.0}, "overhead": {"p50": 5.0, "p99": 5.0}, "total": {"p50": 15.0, "p99": 15.0},
    }  # fmt: skip
