# SPDX-License-Identifier: Apache-2.0
"""Levels and words of /diagnostics."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("diagnostic_msgs.msg", reason="ROS messages are not installed: ./run installs them")

from diagnostic_msgs.msg import DiagnosticStatus

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.node.diagnostics import EngineFacts, statuses
from vl_anomaly_ros.node.statistics import Statistics

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
FACTS = EngineFacts("onnxruntime-cpu/tiny", "onnxruntime-cpu", "fp32", "cpu", "ab" * 32, 12.0, 3)


def judged(config: Config, statistics: Statistics | None, now_s: float = 1.0, **more: Any) -> dict[str, Any]:
    snapshot = None if statistics is None else statistics.snapshot(now_s)
    return {s.name.split()[-1]: s for s in statuses("/vl_anomaly", config, FACTS, snapshot, **more)}


def healthy() -> Statistics:
    statistics = Statistics(started_s=0.0)
    for i in range(5):
        statistics.image_received(0.2 * i)
        statistics.inputs(points=True, transforms=True, missing=(), skew_s=0.01)
        statistics.frame_judged({"engine": 20.0, "post": 5.0, "publish": 1.0, "latency": 30.0})
    return statistics


def test_all_is_well() -> None:
    found = judged(Config(), healthy())
    assert [(name, s.level, s.message) for name, s in found.items()] == [
        ("input", OK, "ok"),
        ("engine", OK, "ok"),
        ("sync", OK, "ok"),
    ]
    values = {v.key: v.value for v in found["engine"].values}
    assert values["engine_p50_ms"] == "20.0"
    assert (values["precision"], values["device"], values["vocabulary_revision"]) == ("fp32", "cpu", "3")
    assert {v.key: v.value for v in found["input"].values}["input_rate_hz"] == "5.00"


def test_inactive_is_no_fault() -> None:
    assert [(s.level, s.message) for s in judged(Config(), None).values()] == [(OK, "inactive")] * 3


def test_no_image_is_an_error_also_before_the_first() -> None:
    assert judged(Config(), Statistics(started_s=0.0), now_s=1.5)["input"].level == ERROR
    assert judged(Config(), healthy(), now_s=5.0)["input"].level == ERROR


def test_disabled_is_a_warning() -> None:
    status = judged(Config(), healthy(), enabled=False)["input"]
    assert (status.level, "disabled" in status.message) == (WARN, True)


@pytest.mark.parametrize(("latencies_ms", "level"), [([30.0] * 90 + [900.0] * 10, WARN), ([900.0] * 100, ERROR)])
def test_latency_over_budget(latencies_ms: list[float], level: bytes) -> None:
    statistics = healthy()
    for latency_ms in latencies_ms:
        statistics.frame_judged({"latency": latency_ms})
    assert judged(Config(), statistics)["engine"].level == level


def test_a_failed_frame_is_an_error_with_its_reason() -> None:
    statistics = healthy()
    statistics.frame_failed("NaN in the score")
    status = judged(Config(), statistics)["engine"]
    assert status.level == ERROR
    assert "NaN in the score" in status.message


@pytest.mark.parametrize(
    ("clause", "points", "level"),
    [
        ("no point cloud was received", True, WARN),
        ("no transform lidar -> camera at 1.000 s", True, ERROR),
        ("no LiDAR is configured (node.points is false)", False, OK),
    ],
)
def test_missing_inputs(clause: str, points: bool, level: bytes) -> None:
    statistics = healthy()
    statistics.inputs(points=False, transforms=True, missing=(clause,), skew_s=None)
    status = judged(with_values(Config(), {"node.points": points}), statistics)["sync"]
    assert status.level == level
    assert level == OK or clause in status.message
