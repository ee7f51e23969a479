# SPDX-License-Identifier: Apache-2.0
"""The managed lifecycle node `vl_anomaly`: one camera, with or without LiDAR."""

from __future__ import annotations

import dataclasses
import functools
import gc
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.timer import Timer

from vl_anomaly_ros.config import Config
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.errors import VlAnomalyError
from vl_anomaly_ros.node.diagnostics import EngineFacts, statuses
from vl_anomaly_ros.node.inputs import Inputs
from vl_anomaly_ros.node.parameters import changed_config, declare_parameters, read_config
from vl_anomaly_ros.node.publishers import Outputs
from vl_anomaly_ros.node.services import Services
from vl_anomaly_ros.node.statistics import Statistics
from vl_anomaly_ros.node.transforms import TransformBuffer
from vl_anomaly_ros.node.worker import Worker
from vl_anomaly_ros.pipeline import Pipeline

Transition = Callable[["VlAnomalyNode", LifecycleState], TransitionCallbackReturn]


def _logged(transition: Transition) -> Transition:
    """Say why a transition fails; rclpy itself swallows the exception. The node goes back to where it was."""

    @functools.wraps(transition)
    def guarded(self: VlAnomalyNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except VlAnomalyError as error:
            self.get_logger().error(f"{transition.__name__} refused: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self.get_logger().fatal(f"{transition.__name__} failed: {type(error).__name__}: {error}")
            return TransitionCallbackReturn.ERROR

    return guarded


class VlAnomalyNode(LifecycleNode):  # type: ignore[misc]  # rclpy carries no types everywhere
    """Unconfigured: parameters and services. Inactive: engine loaded, TF heard. Active: images are judged."""

    def __init__(self, name: str = "vl_anomaly", **arguments: Any) -> None:
        super().__init__(name, **arguments)
        self.config = Config()
        self.pipeline: Pipeline | None = None
        self.worker: Worker | None = None
        self._facts: EngineFacts | None = None
        self._outputs: Outputs | None = None
        self._transforms: TransformBuffer | None = None
        self._statistics: Statistics | None = None
        self._diagnostics_timer: Timer | None = None
        self.enabled = True
        self.finalized = False
        declare_parameters(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._services_of_camera = Services(self)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        back = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True)
        self._jump = self.get_clock().create_jump_callback(back, post_callback=self._on_time_jump)

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters, load and warm up the engine, open the outputs, hear TF."""
        del state
        self.config = read_config(self)
        started = perf_counter()
        engine = Engine.from_config(self.config.engine)
        self.pipeline = Pipeline(self.config, engine)
        self._facts = EngineFacts(
            name=engine.name,
            backend=engine.backend.name,
            precision=engine.backend.precision,
            device=engine.backend.device,
            bundle_sha256=engine.bundle.sha256,
            warm_up_ms=(perf_counter() - started) * 1e3,
            vocabulary_revision=0,
        )
        self._outputs = Outputs(self, self.config)
        self._transforms = TransformBuffer(self, self.config.sync.tf_cache_s)
        self._diagnostics_timer = self.create_timer(self.config.node.diagnostics_period_s, self._publish_diagnostics)
        self.get_logger().info(
            f"configured: {engine.name}, {engine.backend.precision} on {engine.backend.device}, "
            f"bundle {engine.bundle.sha256[:12]}"
        )
        return TransitionCallbackReturn.SUCCESS

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and judge."""
        if self.pipeline is None or self._outputs is None or self._transforms is None:
            raise RuntimeError("active without being configured")
        transforms = self._transforms
        self._statistics = Statistics(monotonic())
        self.worker = Worker(
            self.pipeline,
            self._outputs,
            self._statistics,
            self.get_logger(),
            lambda on_image: Inputs(self, self.config, transforms, on_image),
        )
        self.worker.enabled = self.enabled
        # Collecting what lives for long would stop the world in the middle of frames.
        gc.collect()
        gc.freeze()
        return super().on_activate(state)

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the subscriptions, finish the frame in work."""
        self._stop()
        return super().on_deactivate(state)

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the engine and everything that `on_configure` made."""
        del state
        self._release()
        return TransitionCallbackReturn.SUCCESS

    @_logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From any state: end everything."""
        del state
        self._release()
        self.finalized = True
        return TransitionCallbackReturn.SUCCESS

    @_logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a transition that failed: back to unconfigured, ready for another try."""
        del state
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def set_enabled(self, *, enabled: bool) -> None:
        """Judge images, or drop them (counted)."""
        self.enabled = enabled
        if self.worker is not None:
            self.worker.enabled = enabled

    def _stop(self) -> None:
        if self.worker is not None:
            self.worker.stop()
            self.worker = None
        self._statistics = None

    def _release(self) -> None:
        self._stop()
        if self._diagnostics_timer is not None:
            self.destroy_timer(self._diagnostics_timer)
            self._diagnostics_timer = None
        for part in (self._outputs, self._transforms, self.pipeline):
            if part is not None:
                part.close()
        self._outputs = self._transforms = self.pipeline = self._facts = None
        gc.unfreeze()

    def _on_set_parameters(self, parameters: list[Any]) -> SetParametersResult:
        """Take a change as a whole or refuse it by name; in force from the next frame on."""
        try:
            config = changed_config(self.config if self.pipeline else Config(), parameters)
            if self.pipeline is not None:
                self.pipeline.reconfigure(config)
                self.config = config
                if self.worker is not None:
                    self.worker.inputs.next_config = config
        except VlAnomalyError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _on_time_jump(self, jump: TimeJump) -> None:
        self.get_logger().warning(f"time jumped by {jump.delta.nanoseconds * 1e-9:.3f} s: received data are forgotten")
        if self._transforms is not None:
            self._transforms.clear()
        if self.worker is not None:
            self.worker.inputs.clear()

    def _publish_diagnostics(self) -> None:
        if self._facts is None or self.pipeline is None:
            return
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        snapshot = None if self._statistics is None else self._statistics.snapshot(monotonic())
        message.status = statuses(
            self.get_fully_qualified_name(),
            self.config,
            dataclasses.replace(self._facts, vocabulary_revision=self.pipeline.vocabulary_revision),
            snapshot,
            enabled=self.enabled,
            image_waiting=self.worker is not None and self.worker.busy,
        )
        self._diagnostics.publish(message)
