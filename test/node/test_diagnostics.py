# SPDX-License-Identifier: Apache-2.0
"""Levels, names of degraded modes and words of /diagnostics."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from results import make_frame

pytest.importorskip("diagnostic_msgs.msg", reason="ROS messages are not installed: ./run installs them")

from diagnostic_msgs.msg import DiagnosticStatus

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.engine.progress import Step
from vl_anomaly_ros.node.diagnostics import CameraFacts, EngineFacts, statuses
from vl_anomaly_ros.node.starting import Start
from vl_anomaly_ros.node.statistics import Statistics
from vl_anomaly_ros.types import CameraCalibration

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
FACTS = EngineFacts("onnxruntime-cpu/tiny", "onnxruntime-cpu", "fp32", "cpu", "ab" * 32, 12.0, 3)
K = np.array([[5.0, 0, 3], [0, 5, 2], [0, 0, 1]])
WHOLE = make_frame(calibration=CameraCalibration(6, 4, K, "optical"))


def judged(config: Config, statistics: Statistics | None, now_s: float = 1.0, **more: Any) -> dict[str, Any]:
    """The statuses by name, without that of the node."""
    snapshot = None if statistics is None else statistics.snapshot(now_s)
    facts = more.pop("engine", FACTS)
    cameras = {"front": CameraFacts(snapshot, sync_counts={"unmatched clouds": 4})}
    return {s.name.partition(": ")[2]: s for s in statuses("/vl_anomaly", config, facts, cameras, **more)}


def values(status: Any) -> dict[str, str]:
    return {v.key: v.value for v in status.values}


def healthy() -> Statistics:
    statistics = Statistics(started_s=0.0)
    for i in range(5):
        statistics.image_received(0.2 * i)
        statistics.inputs(WHOLE)
        statistics.frame_judged({"engine": 20.0, "post": 5.0, "publish": 1.0, "latency": 30.0})
    return statistics


def test_all_is_well() -> None:
    found = judged(Config(), healthy(), time_jumps=2)
    assert [(name, s.level, s.message) for name, s in found.items()] == [
        ("engine", OK, "ready: onnxruntime-cpu, fp32 on cpu, loaded in 0.0 s"),
        ("front input", OK, "ok"),
        ("front processing", OK, "ok"),
        ("front sync", OK, "ok"),
    ]
    engine = values(found["engine"])
    assert (engine["precision"], engine["device"], engine["vocabulary_revision"]) == ("fp32", "cpu", "3")
    assert values(found["front processing"])["engine_p50_ms"] == "20.0"
    assert values(found["front input"])["input_rate_hz"] == "5.00"
    sync = values(found["front sync"])
    assert (sync["skew_s"], sync["unmatched clouds"], sync["time_jumps"]) == ("0.100", "4", "2")
    assert {values(status)["degraded"] for status in found.values()} == {"no"}


def test_inactive_is_no_fault() -> None:
    assert [(s.level, s.message) for s in judged(Config(), None).values()][1:] == [(OK, "inactive")] * 3


def test_every_camera_has_its_statuses() -> None:
    cameras = {"front": CameraFacts(healthy().snapshot(1.0)), "left": CameraFacts(healthy().snapshot(9.0))}
    found = {s.name: s.level for s in statuses("/vl_anomaly", Config(), FACTS, cameras)}
    assert found["/vl_anomaly: front input"] == OK
    assert found["/vl_anomaly: left input"] == ERROR
    assert len(found) == 7


def test_an_engine_that_is_loaded_anew_is_an_error_by_name() -> None:
    engine = dataclasses.replace(FACTS, rebuilding="it has not answered for 5 s", rebuilds=2)
    status = judged(Config(), healthy(), engine=engine)["engine"]
    assert (status.level, values(status)["degraded"]) == (ERROR, "engine_rebuilding")
    assert status.message == "degraded (engine_rebuilding): it has not answered for 5 s"
    assert values(status)["rebuilds"] == "2"


BUILDING = Start(100.0, Step("tensorrt", "tactics", "visual", 3, 12), 131.5, built=True)


def test_an_engine_that_is_started_says_what_it_is_at() -> None:
    engine = EngineFacts("none", "auto", "fp16", "none", "", 0.0, 0, start=BUILDING, now_s=134.0)
    status = judged(Config(), None, engine=engine)["engine"]
    assert (status.level, values(status)["degraded"]) == (WARN, "engine_starting")
    words = "tensorrt: building the engine of visual.onnx: tactics, step 3 of 12, for 34 s"
    assert status.message == f"degraded (engine_starting): {words}"
    wanted = {"starting_s": "34.0", "trying": "tensorrt", "graph": "visual", "phase": "tactics", "step": "3 of 12"}
    assert {**wanted, "step_s": "2.5", "backend": "auto", "precision": "fp16"}.items() <= values(status).items()


def test_one_that_has_said_nothing_yet_or_is_in_no_build_is_starting_too() -> None:
    for start, words, graph in (
        (Start(100.0), "starting, for 5 s", None),
        (Start(100.0, Step("tensorrt", "warming up"), 101.0), "tensorrt: warming up, for 5 s", "none"),
    ):
        engine = dataclasses.replace(FACTS, start=start, now_s=105.0)
        status = judged(Config(), None, engine=engine)["engine"]
        assert (status.level, status.message) == (WARN, f"degraded (engine_starting): {words}")
        assert values(status).get("graph") == graph


def test_an_engine_that_is_built_anew_says_why_and_what_it_is_at() -> None:
    engine = dataclasses.replace(FACTS, rebuilding="NaN", start=BUILDING, now_s=134.0)
    status = judged(Config(), healthy(), engine=engine)["engine"]
    assert (status.level, values(status)["degraded"], values(status)["step"]) == (ERROR, "engine_rebuilding", "3 of 12")
    assert status.message.startswith("degraded (engine_rebuilding): NaN; now tensorrt: building")


def test_an_engine_that_is_refused_is_an_error_with_its_reason() -> None:
    engine = dataclasses.replace(FACTS, refused="tensorrt: expected a GPU", start=BUILDING, now_s=134.0)
    status = judged(Config(), None, engine=engine)["engine"]
    assert (status.level, values(status)["degraded"]) == (ERROR, "engine_refused")
    assert status.message == "degraded (engine_refused): tensorrt: expected a GPU"


@pytest.mark.parametrize(
    ("backend", "built", "origin"),
    [("tensorrt", True, "built"), ("tensorrt-rtx", False, "found"), ("onnxruntime-cuda", False, "loaded")],
)
def test_an_engine_that_is_ready_says_where_it_came_from(backend: str, built: bool, origin: str) -> None:
    engine = EngineFacts("x/tiny", backend, "fp16", "Orin", "ab" * 32, 92_400.0, 0, built=built)
    status = judged(Config(), healthy(), engine=engine)["engine"]
    assert (status.level, status.message) == (OK, f"ready: {backend}, fp16 on Orin, {origin} in 92.4 s")
    assert values(status)["origin"] == origin


def test_no_image_is_an_error_also_before_the_first() -> None:
    for statistics, now_s in ((Statistics(started_s=0.0), 1.5), (healthy(), 5.0)):
        status = judged(Config(), statistics, now_s=now_s)["front input"]
        assert (status.level, values(status)["degraded"]) == (ERROR, "stale_camera")


def test_disabled_is_a_warning() -> None:
    status = judged(Config(), healthy(), enabled=False)["front input"]
    assert (status.level, values(status)["degraded"]) == (WARN, "disabled")


@pytest.mark.parametrize(("latencies_ms", "level"), [([30.0] * 90 + [900.0] * 10, WARN), ([900.0] * 100, ERROR)])
def test_latency_over_budget(latencies_ms: list[float], level: bytes) -> None:
    statistics = healthy()
    for latency_ms in latencies_ms:
        statistics.frame_judged({"latency": latency_ms})
    status = judged(Config(), statistics)["front processing"]
    assert (status.level, values(status)["degraded"]) == (level, "over_budget")


def test_a_failed_frame_is_an_error_with_its_reason() -> None:
    statistics = healthy()
    statistics.frame_failed("NaN in the score")
    status = judged(Config(), statistics)["front processing"]
    assert (status.level, values(status)["degraded"]) == (ERROR, "not_judged")
    assert "NaN in the score" in status.message


@pytest.mark.parametrize(
    ("lacking", "settings", "level", "modes"),
    [
        ({"points": None}, {}, WARN, "no_lidar"),
        ({"points": None}, {"node.points": False}, OK, "no"),
        ({"points": None}, {"fusion.enabled": False}, OK, "no"),
        ({"T_camera_points": None}, {}, ERROR, "no_tf"),
        ({"T_output_camera": None}, {}, ERROR, "no_tf"),
        ({"calibration": None}, {}, ERROR, "no_camera_info"),
        ({"calibration": None, "points": None, "T_output_camera": None}, {}, ERROR, "no_tf, no_camera_info, no_lidar"),
    ],
)
def test_missing_inputs_are_degraded_modes_by_name(
    lacking: dict[str, Any], settings: dict[str, bool], level: bytes, modes: str
) -> None:
    statistics = healthy()
    statistics.inputs(dataclasses.replace(WHOLE, **lacking, missing=("the reason",)))
    status = judged(with_values(Config(), settings), statistics)["front sync"]
    assert (status.level, values(status)["degraded"]) == (level, modes)
    assert level == OK or "the reason" in status.message
