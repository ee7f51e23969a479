# SPDX-License-Identifier: Apache-2.0
"""The start of an engine can be watched from another thread, and what was built counts for the engine in use only."""

from __future__ import annotations

import threading
from typing import Any

import pytest

pytest.importorskip("diagnostic_msgs.msg", reason="ROS messages are not installed: ./run installs them")

from vl_anomaly_ros.config import Config, EngineConfig
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.progress import Report, Step
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.node.diagnostics import engine_facts, statuses
from vl_anomaly_ros.node.starting import EngineStart, in_another_thread

BUILD = Step("tensorrt", "tactics", "visual", 3, 12)
ENGINE: Any = object()


def made_by(monkeypatch: pytest.MonkeyPatch, *steps: Step, fails: str = "") -> EngineStart:
    """A start of which `Engine.from_config` reports these steps."""

    def from_config(config: EngineConfig, report: Report) -> Engine:
        assert config.backend == "auto"
        for step in steps:
            report(step)
        if fails:
            raise EngineError(fails)
        return ENGINE  # type: ignore[no-any-return]

    monkeypatch.setattr(Engine, "from_config", staticmethod(from_config))
    return EngineStart()


@pytest.mark.parametrize(
    ("steps", "built"),
    [
        ([Step("tensorrt", "loading"), BUILD, Step("tensorrt", "warming up")], True),
        ([Step("tensorrt", "loading"), Step("tensorrt", "warming up")], False),
        ([BUILD, Step("onnxruntime", "loading")], False),  # it was built, and then it computed something else
        ([], False),
    ],
)
def test_built_or_found(monkeypatch: pytest.MonkeyPatch, steps: list[Step], built: bool) -> None:
    start = made_by(monkeypatch, *steps)
    assert start(EngineConfig()) is ENGINE
    assert (start.built, start.now) == (built, None)


def test_a_start_that_fails_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    start = made_by(monkeypatch, BUILD, fails="no GPU")
    with pytest.raises(EngineError, match="no GPU"):
        start(EngineConfig())
    assert start.now is None


def test_the_diagnostics_tell_while_it_is_made() -> None:
    """The builder goes on once its step was seen, so nothing here depends on time."""
    told = threading.Event()
    seen: list[str] = []

    def make(config: EngineConfig) -> Engine:
        del config
        start._report(BUILD)
        assert told.wait(20)
        return ENGINE  # type: ignore[no-any-return]

    def tell() -> None:
        facts = engine_facts(EngineConfig(), None, start, "")
        seen.append(statuses("/n", Config(), facts, {})[0].message)
        if "step 3 of 12" in seen[-1]:
            told.set()

    start = EngineStart(make)
    assert in_another_thread(lambda: start(EngineConfig()), tell, 0.01) is ENGINE
    assert seen[-1].startswith("degraded (engine_starting): tensorrt: building the engine of visual.onnx: tactics")


def test_what_fails_in_the_other_thread_fails_here() -> None:
    def make() -> None:
        raise TimeoutError("of the device, not of waiting for it")

    with pytest.raises(TimeoutError, match="of the device"):
        in_another_thread(make, lambda: None, 0.01)
