# SPDX-License-Identifier: Apache-2.0
"""The worker answers every image it takes, whatever goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
from results import make_frame, make_result, make_zone

pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.node.inputs import Arrived
from vl_anomaly_ros.node.statistics import Statistics
from vl_anomaly_ros.node.worker import Worker


def image(name: str) -> Arrived:
    return Arrived(SimpleNamespace(header=name), 0.0)


class FakeInputs:
    def __init__(self) -> None:
        self.closed = self.waiting_ended = False

    def frame(self, arrived: Arrived) -> Any:
        if arrived.message.header == "undecodable":
            raise DataError("image: expected pixels, got none")
        return make_frame(camera=arrived.message.header)

    def close(self) -> None:
        self.closed = True

    def stop_waiting(self) -> None:
        self.waiting_ended = True


class FakePipeline:
    def __init__(self) -> None:
        self.started = Queue[str]()
        self.go_on = threading.Event()
        self.go_on.set()

    def process(self, frame: Any) -> Any:
        self.started.put(frame.camera)
        self.go_on.wait(10)
        if frame.camera == "crash":
            raise RuntimeError("out of memory")
        if frame.camera == "poison":
            return make_result(ok=False, reason="NaN", regions=())
        return make_result(make_zone(), frame=frame)


class FakeOutputs:
    def __init__(self) -> None:
        self.answers = Queue[tuple[str, bool, str]]()
        self.broken = False

    def publish(self, result: Any, header: str) -> None:
        if header == "unpublishable":
            raise ValueError("no message")
        self.answers.put((header, result.ok, result.reason))

    def publish_unknown(self, header: str, reason: str) -> None:
        if self.broken:
            raise OSError("middleware")
        self.answers.put((header, False, reason))


class Log:
    def __init__(self) -> None:
        self.lines = Queue[str]()

    def error(self, text: str, **_: Any) -> None:
        self.lines.put(text)

    fatal = error


@dataclass
class Rig:
    worker: Worker
    receive: Callable[[Arrived], None]
    pipeline: FakePipeline
    outputs: FakeOutputs
    statistics: Statistics
    log: Log
    inputs: FakeInputs


@pytest.fixture
def rig() -> Any:
    pipeline, outputs, statistics, log, inputs = FakePipeline(), FakeOutputs(), Statistics(0.0), Log(), FakeInputs()
    given: list[Callable[[Arrived], None]] = []

    def make_inputs(on_image: Callable[[Arrived], None]) -> Any:
        given.append(on_image)
        return inputs

    make: Any = Worker
    worker = make(pipeline, outputs, statistics, log, make_inputs)
    yield Rig(worker, given[0], pipeline, outputs, statistics, log, inputs)
    pipeline.go_on.set()
    worker.stop()
    assert inputs.closed
    assert inputs.waiting_ended


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("undecodable", "expected pixels"),
        ("crash", "RuntimeError: out of memory"),
        ("poison", "NaN"),
        ("unpublishable", "ValueError: no message"),
    ],
)
def test_what_goes_wrong_is_published_as_unknown_and_the_next_frame_is_fine(rig: Rig, name: str, reason: str) -> None:
    rig.receive(image(name))
    header, ok, why = rig.outputs.answers.get(timeout=10)
    assert (header, ok) == (name, False)
    assert reason in why
    rig.receive(image("good"))
    assert rig.outputs.answers.get(timeout=10) == ("good", True, "")
    rig.receive(image("good"))
    rig.outputs.answers.get(timeout=10)
    snapshot = rig.statistics.snapshot(1.0)
    assert snapshot.failed == 1
    assert reason in snapshot.last_error


def test_even_a_broken_middleware_does_not_end_the_worker(rig: Rig) -> None:
    rig.outputs.broken = True
    rig.receive(image("undecodable"))
    assert "could not be judged" in rig.log.lines.get(timeout=10)
    assert "middleware" in rig.log.lines.get(timeout=10)
    rig.receive(image("good"))
    assert rig.outputs.answers.get(timeout=10) == ("good", True, "")


def test_while_one_is_judged_the_newest_waits_and_the_others_are_counted(rig: Rig) -> None:
    rig.pipeline.go_on.clear()
    rig.receive(image("a"))
    assert rig.pipeline.started.get(timeout=10) == "a"
    for name in ("b", "c", "d"):
        rig.receive(image(name))
    assert rig.worker.busy
    rig.pipeline.go_on.set()
    assert [rig.outputs.answers.get(timeout=10)[0] for _ in range(2)] == ["a", "d"]
    snapshot = rig.statistics.snapshot(1.0)
    assert snapshot.dropped == {"replaced by a newer image": 2}
    assert snapshot.received == 4


def test_disabled_images_are_dropped_and_counted(rig: Rig) -> None:
    rig.worker.enabled = False
    rig.receive(image("a"))
    rig.worker.enabled = True
    rig.receive(image("b"))
    assert rig.outputs.answers.get(timeout=10)[0] == "b"
    assert rig.statistics.snapshot(1.0).dropped == {"disabled": 1}
