# SPDX-License-Identifier: Apache-2.0
"""The thread that judges images, off the executor: it takes the newest, and publishes an answer for each it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic, perf_counter

from rclpy.impl.rcutils_logger import RcutilsLogger

from vl_anomaly_ros.errors import VlAnomalyError
from vl_anomaly_ros.node.inputs import Arrived, Inputs
from vl_anomaly_ros.node.mailbox import Mailbox
from vl_anomaly_ros.node.publishers import Outputs
from vl_anomaly_ros.node.statistics import Statistics
from vl_anomaly_ros.pipeline import Pipeline
from vl_anomaly_ros.types import Frame, FrameResult

_LOG_EVERY_S = 5.0


class Worker:
    """Runs from construction until `stop`. Nothing that goes wrong in a frame ends it or is passed over in silence."""

    def __init__(
        self,
        pipeline: Pipeline,
        outputs: Outputs,
        statistics: Statistics,
        logger: RcutilsLogger,
        make_inputs: Callable[[Callable[[Arrived], None]], Inputs],
    ) -> None:
        self.enabled = True
        self._pipeline = pipeline
        self._outputs = outputs
        self._statistics = statistics
        self._ros_log = logger
        self._mailbox: Mailbox[Arrived] = Mailbox()
        self.inputs = make_inputs(self._receive)
        self._thread = threading.Thread(target=self._run, name="vl_anomaly_worker", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether an image waits for the one in work."""
        return self._mailbox.waiting

    def stop(self) -> None:
        """End the subscriptions, then the thread, after the frame in work."""
        self.inputs.close()
        self._mailbox.close()
        self.inputs.stop_waiting()
        self._thread.join()

    def _receive(self, arrived: Arrived) -> None:
        self._statistics.image_received(arrived.at_s)
        if not self.enabled:
            self._statistics.image_dropped("disabled")
        elif self._mailbox.put(arrived):
            self._statistics.image_dropped("replaced by a newer image")

    def _run(self) -> None:
        while (arrived := self._mailbox.take()) is not None:
            self._answer(arrived)

    def _answer(self, arrived: Arrived) -> None:
        """Publish one answer, whatever goes wrong: the node must not stop, nor leave an image without a word."""
        try:
            self._judge(arrived)
        except VlAnomalyError as error:
            self._fail(arrived, str(error))
        except Exception as error:
            self._fail(arrived, f"{type(error).__name__}: {error}")

    def _judge(self, arrived: Arrived) -> None:
        header = arrived.message.header
        frame = self.inputs.frame(arrived)
        self._note(frame)
        result = self._pipeline.process(frame)
        published = perf_counter()
        self._outputs.publish(result, header)
        if result.ok:
            self._statistics.frame_judged(_times_ms(result, perf_counter() - published, monotonic() - arrived.at_s))
        else:
            self._statistics.frame_failed(result.reason)

    def _fail(self, arrived: Arrived, reason: str) -> None:
        self._statistics.frame_failed(reason)
        self._ros_log.error(f"an image could not be judged: {reason}", throttle_duration_sec=_LOG_EVERY_S)
        try:
            self._outputs.publish_unknown(arrived.message.header, reason)
        except Exception as error:
            self._ros_log.fatal(f"not even that could be published: {error}", throttle_duration_sec=_LOG_EVERY_S)

    def _note(self, frame: Frame) -> None:
        self._statistics.inputs(
            points=frame.points is not None,
            transforms=frame.T_output_camera is not None
            and (frame.points is None or frame.T_camera_points is not None),
            missing=frame.missing,
            skew_s=None if frame.points is None else frame.points_age_s,
        )


def _times_ms(result: FrameResult, publishing_s: float, latency_s: float) -> dict[str, float]:
    """By stage; latency is from the arrival of the image to the last output."""
    return {
        "engine": result.timing.engine_ms,
        "post": result.timing.total_ms - result.timing.engine_ms,
        "publish": publishing_s * 1e3,
        "latency": latency_s * 1e3,
    }
