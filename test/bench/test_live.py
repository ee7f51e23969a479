# SPDX-License-Identifier: Apache-2.0
"""The bench's processes talk to the real node and to the floors over DDS: the instrument works; no figures."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray
from vl_anomaly_ros.msg import HazardZoneArray

from bench.node_parts import segment as segment_module
from bench.node_parts.figures import figures
from bench.node_parts.receiver import stamp_in
from bench.node_parts.segment import FULL, NODE, Load, run_segment

STAMP = Header(stamp=Time(sec=12, nanosec=345))


def test_stamps_are_read_from_serialised_messages() -> None:
    zones = serialize_message(HazardZoneArray(header=STAMP, reason="why"))
    markers = serialize_message(MarkerArray(markers=[Marker(header=STAMP), Marker()]))
    assert stamp_in(zones, "hazard_zones") == stamp_in(markers, "markers") == 12_000_000_345
    assert stamp_in(serialize_message(MarkerArray()), "markers") == 0


@pytest.mark.live
@pytest.mark.parametrize(("kind", "cameras"), [(FULL, 1), (NODE, 1), (NODE, 2)])
def test_a_stretch_is_measured(kind: str, cameras: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_module, "WARM_UP_S", 1.0)
    load = Load(rate_hz=2.0, cameras=cameras, parameters=("node.latency_budget_s:=20.0",))
    segment = run_segment(kind, load, 4.0, tmp_path / "stretch", sizes=(1000, 100_000))
    logs = "\n".join(path.read_text() for path in (tmp_path / "stretch").glob("*.log"))
    assert segment.failure == "", logs
    made = figures(segment)
    assert made["images_sent"] >= 4 * cameras
    assert made["images_answered"] >= cameras, (made, logs)
    assert set(made["answered_by_camera"]) == {image.camera for image in segment.sent}
    assert 0 < made["small_answers"]["median_ms"] <= made["last_output"]["median_ms"]
    assert made["age"]["median_ms"] > made["small_answers"]["median_ms"]
    if kind == NODE:
        assert made["answer_bytes"] > 16_000_000 * cameras
        assert any("input" in name for name in segment.diagnostics)
