# SPDX-License-Identifier: Apache-2.0
"""The worker answers every image it takes, whatever goes wrong, and an engine that hangs or fails is replaced."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import Empty, Queue
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from results import make_frame, make_result, make_zone

pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.errors import DataError, EngineError
from vl_anomaly_ros.node.inputs import Arrived
from vl_anomaly_ros.node.keeper import EngineKeeper
from vl_anomaly_ros.node.statistics import Statistics
from vl_anomaly_ros.node.worker import Camera, Worker

SETTINGS = {"engine.timeout_s": 0.5, "engine.max_failures": 2, "node.latency_budget_s": 5.0, "sync.wait_s": 1.0}
ANSWER_S = 20.0
CAMERAS = ("front", "left", "right")


def image(name: str, waited_s: float = 0.0) -> Arrived:
    return Arrived(SimpleNamespace(header=name), monotonic() - waited_s)


class FakeInputs:
    def __init__(self) -> None:
        self.completed = 0

    def frame(self, arrived: Arrived) -> Any:
        if arrived.message.header == "undecodable":
            raise DataError("image: expected pixels, got none")
        return make_frame(camera=arrived.message.header)

    def complete(self, arrived: Arrived, frame: Any) -> Any:
        self.completed += 1
        if arrived.message.header == "slow inputs":
            threading.Event().wait(2 * SETTINGS["engine.timeout_s"])
        return frame


@dataclass
class Control:
    """What the pipelines do, and what they did."""

    config: Config
    started: Queue[str] = field(default_factory=Queue)
    go_on: threading.Event = field(default_factory=threading.Event)
    hanging: threading.Event = field(default_factory=threading.Event)
    loaded: int = 0
    closed: int = 0
    load_failures: int = 0


class FakePipeline:
    def __init__(self, control: Control) -> None:
        self.control = control
        self.number = control.loaded
        control.loaded += 1
        self.engine_failures = 0
        self.config = control.config

    def process(self, frame: Any, complete: Any) -> Any:
        self.control.started.put(frame.camera)
        self.control.go_on.wait(10)
        if frame.camera == "crash":
            raise RuntimeError("out of memory")
        if frame.camera == "hang":
            self.control.hanging.wait(30)
        if frame.camera == "poison":
            self.engine_failures += 1
            return make_result(ok=False, reason="NaN", regions=())
        self.engine_failures = 0
        return make_result(make_zone(), frame=complete(frame))

    def successor(self) -> FakePipeline:
        if self.control.load_failures:
            self.control.load_failures -= 1
            raise EngineError("the graph is gone")
        return FakePipeline(self.control)

    def reconfigure(self, config: Config) -> None:
        self.config = config

    def close(self) -> None:
        self.control.closed += 1


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

    fatal = warning = error


@dataclass
class Rig:
    worker: Worker
    keeper: EngineKeeper
    control: Control
    outputs: FakeOutputs
    statistics: Statistics
    log: Log
    inputs: FakeInputs

    def receive(self, arrived: Arrived, camera: str = "front") -> None:
        self.worker.receive(camera, arrived)

    def answer(self) -> tuple[str, bool, str]:
        return self.outputs.answers.get(timeout=ANSWER_S)

    def answer_once_ready(self) -> tuple[str, bool, str]:
        """The first answer of an engine that works again."""
        end_s = monotonic() + ANSWER_S
        while monotonic() < end_s:
            self.receive(image("good"))
            answer = self.answer()
            if answer[1]:
                return answer
            assert "loaded anew" in answer[2]
        raise AssertionError("the engine was not loaded anew")


@pytest.fixture(params=[1, 3], ids=["one", "parallel"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """With one thread, and with one for each of three cameras."""
    control = Control(with_values(Config(), SETTINGS))
    control.go_on.set()
    outputs, statistics, log, inputs = FakeOutputs(), Statistics(0.0), Log(), FakeInputs()
    pipeline: Any = FakePipeline(control)
    logger: Any = log
    keeper = EngineKeeper(pipeline, logger, 0.0)
    names = CAMERAS[: request.param]
    worker = Worker(keeper, {n: Camera(inputs, outputs, statistics) for n in names}, logger, parallel=request.param)
    yield Rig(worker, keeper, control, outputs, statistics, log, inputs)
    control.go_on.set()
    control.hanging.set()
    worker.stop()
    keeper.close()


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
    header, ok, why = rig.answer()
    assert (header, ok) == (name, False)
    assert reason in why
    for _ in range(2):
        rig.receive(image("good"))
        assert rig.answer() == ("good", True, "")
    snapshot = rig.statistics.snapshot(1.0)
    assert snapshot.failed == 1
    assert reason in snapshot.last_error


def test_even_a_broken_middleware_does_not_end_the_worker(rig: Rig) -> None:
    rig.outputs.broken = True
    rig.receive(image("undecodable"))
    assert "could not be judged" in rig.log.lines.get(timeout=10)
    assert "middleware" in rig.log.lines.get(timeout=10)
    rig.receive(image("good"))
    assert rig.answer() == ("good", True, "")


def test_while_one_is_judged_the_newest_waits_and_the_others_are_counted(rig: Rig) -> None:
    rig.control.go_on.clear()
    rig.receive(image("a"))
    assert rig.control.started.get(timeout=10) == "a"
    for name in ("b", "c", "d"):
        rig.receive(image(name))
    assert rig.worker.waiting("front")
    rig.control.go_on.set()
    assert [rig.answer()[0] for _ in range(2)] == ["a", "d"]
    snapshot = rig.statistics.snapshot(1.0)
    assert snapshot.dropped == {"replaced by a newer image": 2}
    assert snapshot.received == 4


def test_disabled_images_are_dropped_and_counted(rig: Rig) -> None:
    rig.worker.enabled = False
    rig.receive(image("a"))
    rig.worker.enabled = True
    rig.receive(image("b"))
    assert rig.answer()[0] == "b"
    assert rig.statistics.snapshot(1.0).dropped == {"disabled": 1}


def test_an_image_older_than_the_budget_at_its_turn_is_not_judged_but_published_as_unknown(rig: Rig) -> None:
    rig.receive(image("old", waited_s=6.0))
    header, ok, reason = rig.answer()
    assert (header, ok) == ("old", False)
    assert "waited 6.00 s for its turn, more than 5 s" in reason
    assert rig.control.started.empty()
    assert rig.statistics.snapshot(1.0).dropped == {"waited longer than node.latency_budget_s": 1}


def test_an_engine_that_hangs_is_answered_for_given_up_and_replaced(rig: Rig) -> None:
    rig.receive(image("hang"))
    assert rig.answer() == ("hang", False, "the engine has not answered for 0.5 s")
    assert rig.answer_once_ready() == ("good", True, "")
    assert (rig.control.loaded, rig.keeper.rebuilds, rig.keeper.hung) == (2, 1, 1)
    assert rig.control.closed == 0  # one that hangs is not touched any more
    rig.control.hanging.set()  # the old engine answers after all: nobody hears it
    with pytest.raises(Empty):
        rig.outputs.answers.get(timeout=0.3)
    rig.receive(image("good"))
    assert rig.answer() == ("good", True, "")


def test_inputs_that_are_waited_for_are_no_hanging_engine(rig: Rig) -> None:
    rig.receive(image("slow inputs"))
    assert rig.answer() == ("slow inputs", True, "")
    assert rig.control.loaded == 1


def test_an_engine_that_fails_in_a_row_is_loaded_anew_with_pauses_until_it_works(rig: Rig) -> None:
    rig.control.load_failures = 1
    for _ in range(2):
        rig.receive(image("poison"))
        assert rig.answer()[:2] == ("poison", False)
    assert rig.answer_once_ready() == ("good", True, "")
    assert (rig.control.loaded, rig.control.closed, rig.keeper.rebuilds) == (2, 1, 1)
    assert rig.keeper.why == ""


def test_single_failures_do_not_cost_the_engine(rig: Rig) -> None:
    for name in ("poison", "good", "poison", "good"):
        rig.receive(image(name))
        rig.answer()
    assert rig.control.loaded == 1


def test_stop_returns_though_the_engine_hangs(rig: Rig) -> None:
    rig.receive(image("hang"))
    assert rig.control.started.get(timeout=10) == "hang"
    began_s = monotonic()
    rig.worker.stop()
    assert monotonic() - began_s < 10.0


@pytest.fixture
def parallel(rig: Rig) -> Rig:
    if len(rig.worker._lanes) == 1:
        pytest.skip("of several threads alone")
    return rig


def test_images_of_several_cameras_are_judged_at_the_same_time(parallel: Rig) -> None:
    parallel.control.go_on.clear()
    for camera in CAMERAS:
        parallel.receive(image(camera), camera)
    assert {parallel.control.started.get(timeout=10) for _ in CAMERAS} == set(CAMERAS)
    parallel.receive(image("next"), "left")
    assert parallel.worker.waiting("left")  # whose answers keep their order
    parallel.control.go_on.set()
    answers = [parallel.answer() for _ in range(4)]
    assert all(ok for _, ok, _ in answers)
    names = [name for name, _, _ in answers]
    assert set(names) == {*CAMERAS, "next"}
    assert names.index("next") > names.index("left")


def test_where_one_hangs_the_others_are_answered_and_its_camera_goes_on(parallel: Rig) -> None:
    parallel.receive(image("hang"), "left")
    assert parallel.control.started.get(timeout=10) == "hang"
    parallel.receive(image("good"), "right")
    assert parallel.answer() == ("good", True, "")
    assert parallel.answer() == ("hang", False, "the engine has not answered for 0.5 s")
    end_s = monotonic() + ANSWER_S
    for camera in CAMERAS:
        ok = False
        while not ok and monotonic() < end_s:
            parallel.receive(image("good"), camera)
            ok = parallel.answer()[1]
        assert ok, camera


def test_where_all_hang_each_is_answered_and_one_engine_takes_their_place(parallel: Rig) -> None:
    for camera in CAMERAS:
        parallel.receive(image("hang"), camera)
    for _ in CAMERAS:
        assert parallel.answer() == ("hang", False, "the engine has not answered for 0.5 s")
    assert parallel.answer_once_ready() == ("good", True, "")
    assert (parallel.control.loaded, parallel.keeper.rebuilds, parallel.keeper.hung) == (2, 1, 3)
    parallel.control.hanging.set()
    end_s = monotonic() + ANSWER_S
    while parallel.keeper.hung and monotonic() < end_s:
        threading.Event().wait(0.02)
    assert parallel.keeper.hung == 0
    assert parallel.control.closed >= 1


def test_more_threads_than_cameras_are_not_started(parallel: Rig) -> None:
    logger: Any = parallel.log
    worker = Worker(parallel.keeper, {"front": parallel.worker._cameras["front"]}, logger, parallel=8)
    assert len(worker._lanes) == 1
    worker.stop()
