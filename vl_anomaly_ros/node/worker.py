# SPDX-License-Identifier: Apache-2.0
"""The threads that judge images, off the executor: cameras in turn, the newest image of each, an answer for each taken.

A camera is in one thread at a time. A watchdog sees that the threads go on. One that hangs in the engine is left
behind: its image is answered as unknown, a new thread takes its place, and `EngineKeeper` loads a new engine meanwhile.
"""

from __future__ import annotations

import gc
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic, perf_counter, sleep
from typing import Any, Protocol

from rclpy.impl.rcutils_logger import RcutilsLogger

from vl_anomaly_ros.cores import keep_to_half
from vl_anomaly_ros.errors import VlAnomalyError
from vl_anomaly_ros.node.inputs import Arrived
from vl_anomaly_ros.node.keeper import EngineKeeper
from vl_anomaly_ros.node.mailbox import Mailboxes
from vl_anomaly_ros.node.statistics import Statistics
from vl_anomaly_ros.pipeline import Pipeline
from vl_anomaly_ros.types import Frame, FrameResult

_LOG_EVERY_S = 5.0
_WATCH_EVERY_S = 0.05
_OVERSLEPT_S = 0.5
_COLLECT_EVERY_S = 5.0
_YIELD_S = 2e-3
"""So long other messages wait where an image is judged at once."""


class FrameInputs(Protocol):
    """Brings together what belongs to an image; see `vl_anomaly_ros.node.inputs.CameraInputs`."""

    def frame(self, arrived: Arrived) -> Frame:
        """The image alone."""

    def complete(self, arrived: Arrived, frame: Frame) -> Frame:
        """The frame with all that came meanwhile, or is worth waiting for."""


class FrameOutputs(Protocol):
    """Publishes; see `vl_anomaly_ros.node.publishers`."""

    def publish(self, result: FrameResult, header: Any) -> None:
        """A result, be it OK or not."""

    def publish_unknown(self, header: Any, reason: str) -> None:
        """That an image was not judged."""


@dataclass(frozen=True)
class Camera:
    """All that the worker needs of one camera."""

    inputs: FrameInputs
    outputs: FrameOutputs
    statistics: Statistics


@dataclass
class _Turn:
    """One image in work.

    Attributes:
        name: of its camera.
        deadline_s: when the engine hangs, by the monotonic clock; None while something else is done.
        claimed: somebody answers it.
        abandoned: its thread hung and was replaced.
    """

    name: str
    camera: Camera
    arrived: Arrived
    pipeline: Pipeline | None = None
    deadline_s: float | None = None
    claimed: bool = False
    abandoned: bool = False


class _Lane:
    """A thread that judges, and the image that it judges now; another thread takes its place when it hangs."""

    def __init__(self) -> None:
        self.turn: _Turn | None = None
        self.thread: threading.Thread


class Worker:
    """Runs from construction until `stop`. Nothing that goes wrong in a frame ends it or is passed over in silence.

    Args:
        keeper: of the engine.
        cameras: by name.
        logger: of the node.
        parallel: images in work at once; of more than there are cameras nothing would be gained.
    """

    def __init__(
        self, keeper: EngineKeeper, cameras: Mapping[str, Camera], logger: RcutilsLogger, parallel: int = 1
    ) -> None:
        self.enabled = True
        self._keeper = keeper
        self._cameras = cameras
        self._ros_log = logger
        self._mailboxes: Mailboxes[Arrived] = Mailboxes(cameras)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._collected_s = monotonic()
        self._lanes = [_Lane() for _ in range(min(parallel, len(cameras)))]
        for lane in self._lanes:
            self._start_lane(lane)
        self._watchdog = self._start(self._watch, "vl_anomaly_watchdog")

    def waiting(self, camera: str) -> bool:
        """Whether an image of this camera waits for its turn."""
        return self._mailboxes.waiting(camera)

    def receive(self, camera: str, arrived: Arrived) -> None:
        """Take an image; returns at once."""
        statistics = self._cameras[camera].statistics
        statistics.image_received(arrived.at_s)
        if not self.enabled:
            statistics.image_dropped("disabled")
        elif self._mailboxes.put(camera, arrived):
            statistics.image_dropped("replaced by a newer image")
        if any(lane.turn is None for lane in self._lanes):
            sleep(_YIELD_S)  # what this thread does next would take the interpreter's lock from the frame

    def stop(self, limit_s: float = math.inf) -> None:
        """End after the images in work, which are given up when the engine hangs or `limit_s` has passed."""
        self._mailboxes.close()
        end_s = monotonic() + limit_s
        for lane in self._lanes:
            while lane.thread.is_alive() and monotonic() < end_s:
                lane.thread.join(_WATCH_EVERY_S)  # the watchdog replaces a thread that hangs, and the new one ends
        self._stopped.set()
        self._watchdog.join()
        for lane in self._lanes:
            if lane.thread.is_alive() and (turn := self._late(lane, math.inf)) is not None:
                self._give_up(turn, "the node was stopped while this image was judged")

    def _start_lane(self, lane: _Lane) -> None:
        lane.thread = self._start(partial(self._run, lane), "vl_anomaly_worker")

    def _start(self, run: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def _run(self, lane: _Lane) -> None:
        if len(self._lanes) == 1:
            keep_to_half(0)  # the pipeline prepares the inputs of a frame on the others
        while (taken := self._mailboxes.take()) is not None:
            turn = _Turn(taken[0], self._cameras[taken[0]], taken[1])
            self._answer(lane, turn)
            if turn.abandoned:  # another thread has taken over
                if turn.pipeline is not None:
                    self._keeper.returned(turn.pipeline)
                return
            self._collect_garbage()

    def _answer(self, lane: _Lane, turn: _Turn) -> None:
        """Publish one answer, whatever goes wrong: the node must not stop, nor leave an image without a word."""
        with self._lock:
            lane.turn = turn
        try:
            self._judge(turn)
        except Exception as error:
            known = isinstance(error, VlAnomalyError)
            if not turn.abandoned:  # else it is answered
                self._fail(turn, str(error) if known else f"{type(error).__name__}: {error}")
        with self._lock:
            mine = lane.turn is turn  # else the watchdog has answered it
            if mine:
                lane.turn = None
        if mine:
            self._mailboxes.done(turn.name)

    def _judge(self, turn: _Turn) -> None:
        camera, arrived = turn.camera, turn.arrived
        budget_s = self._keeper.latest.config.node.latency_budget_s
        waited_s = monotonic() - arrived.at_s
        if waited_s > budget_s:
            camera.statistics.image_dropped("waited longer than node.latency_budget_s")
            self._publish_unknown(turn, f"the image waited {waited_s:.2f} s for its turn, more than {budget_s:g} s")
            return
        turn.pipeline = pipeline = self._keeper.pipeline
        if pipeline is None:
            self._fail(turn, f"the engine is loaded anew: {self._keeper.why}")
            return
        frame = camera.inputs.frame(arrived)
        # Waiting for inputs, beside the engine, is no fault of the engine.
        turn.deadline_s = monotonic() + pipeline.config.engine.timeout_s + pipeline.config.sync.wait_s
        result = pipeline.process(frame, partial(_completed, turn))
        if not self._claim(turn):
            return
        published = perf_counter()
        camera.outputs.publish(result, arrived.message.header)
        if result.ok:
            times_ms = _times_ms(result, perf_counter() - published, monotonic() - arrived.at_s)
            camera.statistics.frame_judged(times_ms)
        else:
            camera.statistics.frame_failed(result.reason)
        if pipeline.engine_failures >= pipeline.config.engine.max_failures:
            self._keeper.give_up(pipeline, result.reason, hangs=False)

    def _claim(self, turn: _Turn) -> bool:
        """Whether the caller is the one who answers this image."""
        with self._lock:
            turn.deadline_s = None
            mine, turn.claimed = not turn.claimed, True
            return mine

    def _fail(self, turn: _Turn, reason: str) -> None:
        turn.camera.statistics.frame_failed(reason)
        self._ros_log.error(f"an image could not be judged: {reason}", throttle_duration_sec=_LOG_EVERY_S)
        self._publish_unknown(turn, reason)

    def _publish_unknown(self, turn: _Turn, reason: str) -> None:
        self._claim(turn)
        try:
            turn.camera.outputs.publish_unknown(turn.arrived.message.header, reason)
        except Exception as error:
            self._ros_log.fatal(f"not even that could be published: {error}", throttle_duration_sec=_LOG_EVERY_S)

    def _watch(self) -> None:
        looked_s = monotonic()
        while not self._stopped.wait(_WATCH_EVERY_S):
            # A process that was halted, or gets no processor, is no engine that hangs: time counts that others had too.
            now_s = monotonic()
            self._forgive(now_s - looked_s - _OVERSLEPT_S)
            looked_s = now_s
            for lane in self._lanes:
                turn = self._late(lane, now_s)
                if turn is not None and turn.pipeline is not None:
                    timeout_s = turn.pipeline.config.engine.timeout_s
                    self._give_up(turn, f"the engine has not answered for {timeout_s:g} s")
                    self._start_lane(lane)

    def _forgive(self, lost_s: float) -> None:
        with self._lock:
            for lane in self._lanes:
                if lost_s > 0 and lane.turn is not None and lane.turn.deadline_s is not None:
                    lane.turn.deadline_s += lost_s

    def _late(self, lane: _Lane, now_s: float) -> _Turn | None:
        """Take the image in work away from its thread if the engine has not answered by its deadline."""
        with self._lock:
            turn = lane.turn
            if turn is None or turn.claimed or turn.deadline_s is None or now_s <= turn.deadline_s:
                return None
            turn.claimed = turn.abandoned = True
            lane.turn = None
            return turn

    def _give_up(self, turn: _Turn, reason: str) -> None:
        if turn.pipeline is not None:
            self._keeper.give_up(turn.pipeline, reason, hangs=True)
        self._fail(turn, reason)
        self._mailboxes.done(turn.name)

    def _collect_garbage(self) -> None:
        """Between two images and not in the middle of one: the collector is off while the node is active."""
        if monotonic() - self._collected_s > _COLLECT_EVERY_S:
            gc.collect()
            self._collected_s = monotonic()


def _completed(turn: _Turn, frame: Frame) -> Frame:
    """The frame with all its inputs."""
    frame = turn.camera.inputs.complete(turn.arrived, frame)
    turn.camera.statistics.inputs(frame)
    return frame


def _times_ms(result: FrameResult, publishing_s: float, latency_s: float) -> dict[str, float]:
    """By stage; latency is from the arrival of the image to the last output."""
    timing = result.timing
    return {
        "engine": timing.engine_ms,
        "inputs": timing.inputs_ms,
        "post": timing.total_ms - timing.engine_ms - timing.inputs_ms,
        "publish": publishing_s * 1e3,
        "latency": latency_s * 1e3,
    }
