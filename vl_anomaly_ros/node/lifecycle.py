# SPDX-License-Identifier: Apache-2.0
"""The managed lifecycle node `vl_anomaly`: one engine for one camera or several, with or without LiDAR."""

from __future__ import annotations

import functools
import gc
import math
from collections.abc import Callable
from functools import partial
from time import monotonic, perf_counter
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.timer import Timer

from vl_anomaly_ros.config import Config, EngineConfig
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.errors import VlAnomalyError
from vl_anomaly_ros.node.diagnostics import CameraFacts, engine_facts, statuses
from vl_anomaly_ros.node.inputs import Arrived, CameraInputs
from vl_anomaly_ros.node.keeper import EngineKeeper
from vl_anomaly_ros.node.panorama import Panorama
from vl_anomaly_ros.node.parameters import changed_config, declare_parameters, read_config
from vl_anomaly_ros.node.points_input import PointsInput
from vl_anomaly_ros.node.publishers import CameraOutputs, Publishers
from vl_anomaly_ros.node.services import Services
from vl_anomaly_ros.node.starting import EngineStart, in_another_thread
from vl_anomaly_ros.node.statistics import Statistics
from vl_anomaly_ros.node.transforms import TransformBuffer
from vl_anomaly_ros.node.worker import Camera, Worker
from vl_anomaly_ros.pipeline import Pipeline

FORWARD_JUMP_S = 60.0
"""Time that jumps ahead by more has another meaning: what was received belongs to another time."""

STARTING_PERIOD_S = 1.0
"""So often at least the diagnostics say what an engine is at that is being started."""

GOODBYE_S = 2.0
"""So long a node that is shut down waits for the image in work: launch files kill after 5 s."""

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
    """Unconfigured: parameters and services. Inactive: engine loaded, TF heard. Active: images are judged.

    Args:
        name: of the node.
        make_engine: makes the engine that `engine.*` describes; None: `Engine.from_config`, whose steps are then
            told in the diagnostics.
        arguments: of `rclpy.lifecycle.LifecycleNode`.
    """

    def __init__(
        self,
        name: str = "vl_anomaly",
        *,
        make_engine: Callable[[EngineConfig], Engine] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(name, **arguments)
        self.config = Config()
        self.keeper: EngineKeeper | None = None
        self.worker: Worker | None = None
        self._make_engine = make_engine
        self._start = EngineStart(make_engine)
        self._publishers_of_frames: Publishers | None = None
        self._transforms: TransformBuffer | None = None
        self._panorama: Panorama | None = None
        self._points: PointsInput | None = None
        self._inputs: dict[str, CameraInputs] = {}
        self._statistics: dict[str, Statistics] = {}
        self._diagnostics_timer: Timer | None = None
        self._time_jumps = 0
        self.enabled = True
        self.finalized = False
        self.hung_engines = 0
        declare_parameters(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._services_of_node = Services(self)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        jump = JumpThreshold(
            min_forward=Duration(seconds=FORWARD_JUMP_S), min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jump = self.get_clock().create_jump_callback(jump, post_callback=self._on_time_jump)

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters, load and warm up the engine, open the outputs, hear TF."""
        del state
        self.config = config = read_config(self)
        started = perf_counter()
        pipeline = self._load(config)
        self.keeper = EngineKeeper(pipeline, self.get_logger(), perf_counter() - started)
        self._publishers_of_frames = Publishers(self, config.node.cameras)
        self._transforms = TransformBuffer(self, config.sync.tf_cache_s)
        # By the steady clock: diagnostics go on when simulated time stands still or its sender is gone.
        self._diagnostics_timer = self.create_timer(
            config.node.diagnostics_period_s, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        backend = pipeline.engine.backend
        self.get_logger().info(
            f"configured: {pipeline.engine_name}, {backend.precision} on {backend.device}, "
            f"bundle {pipeline.bundle.sha256[:12]}, cameras {', '.join(config.node.cameras)}"
        )
        self._publish_diagnostics()
        return TransitionCallbackReturn.SUCCESS

    def _load(self, config: Config) -> Pipeline:
        """The pipeline. While it is made the executor's timers stand still: the diagnostics are published from here."""
        self._start = EngineStart(self._make_engine)
        period_s = min(config.node.diagnostics_period_s, STARTING_PERIOD_S)
        try:
            return in_another_thread(partial(Pipeline, config, self._start), self._publish_diagnostics, period_s)
        except Exception as error:
            self._publish_diagnostics(refused=str(error) or type(error).__name__)
            raise

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and judge."""
        if self.keeper is None or self._publishers_of_frames is None or self._transforms is None:
            raise RuntimeError("active without being configured")
        config = self.config
        self._panorama = Panorama(config.node.cameras, config, self._transforms)
        self._statistics = {name: Statistics(monotonic()) for name in config.node.cameras}
        self._points = PointsInput(self, config, self._transforms)
        cameras: dict[str, Camera] = {}
        for name, statistics in self._statistics.items():
            inputs = CameraInputs(self, name, config, self._transforms, self._points, partial(self._on_image, name))
            self._inputs[name] = inputs
            outputs = CameraOutputs(self._publishers_of_frames, self._panorama, name, config)
            cameras[name] = Camera(inputs, outputs, statistics)
        # Collecting what lives for long would stop the world in the middle of frames; the worker collects between them.
        gc.collect()
        gc.freeze()
        gc.disable()
        self.worker = Worker(self.keeper, cameras, self.get_logger(), config.engine.parallel)
        self.worker.enabled = self.enabled
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
        self._release(GOODBYE_S)
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

    def _on_image(self, camera: str, arrived: Arrived) -> None:
        if self.worker is not None:
            self.worker.receive(camera, arrived)

    def _stop(self, limit_s: float = math.inf) -> None:
        """End the subscriptions, then the worker: an image in work is finished, but no longer waits for its inputs."""
        for inputs in self._inputs.values():
            inputs.close()
            inputs.stop_waiting()
        if self.worker is not None:
            self.worker.stop(limit_s)
        if self._points is not None:
            self._points.close()
        self.worker = self._points = self._panorama = None
        self._inputs, self._statistics = {}, {}
        gc.enable()
        gc.unfreeze()

    def _release(self, limit_s: float = math.inf) -> None:
        self._stop(limit_s)
        if self._diagnostics_timer is not None:
            self.destroy_timer(self._diagnostics_timer)
            self._diagnostics_timer = None
        if self.keeper is not None:
            self.hung_engines += self.keeper.hung
        for part in (self._publishers_of_frames, self._transforms, self.keeper):
            if part is not None:
                part.close()
        self._publishers_of_frames = self._transforms = self.keeper = None

    def _on_set_parameters(self, parameters: list[Any]) -> SetParametersResult:
        """Take a change as a whole or refuse it by name; in force from the next frame on."""
        try:
            config = changed_config(self.config if self.keeper else Config(), parameters)
            if self.keeper is not None:
                self.keeper.reconfigure(config)
                self.config = config
                if self._panorama is not None:
                    self._panorama.config = config
                for inputs in self._inputs.values():
                    inputs.next_config = config
        except VlAnomalyError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _on_time_jump(self, jump: TimeJump) -> None:
        seconds = jump.delta.nanoseconds * 1e-9
        self.get_logger().warning(f"time jumped by {seconds:.3f} s: received data are forgotten")
        self._time_jumps += 1
        for part in (self._transforms, self._points, self._panorama, *self._inputs.values()):
            if part is not None:
                part.clear()

    def _publish_diagnostics(self, refused: str = "") -> None:
        now_s, worker = monotonic(), self.worker
        engine = engine_facts(self.config.engine, self.keeper, self._start, refused)
        cameras = {name: CameraFacts(None) for name in self.config.node.cameras}
        if worker is not None:
            cameras = {
                name: CameraFacts(statistics.snapshot(now_s), worker.waiting(name), self._inputs[name].counts())
                for name, statistics in self._statistics.items()
            }
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = statuses(
            self.get_fully_qualified_name(),
            self.config,
            engine,
            cameras,
            enabled=self.enabled,
            time_jumps=self._time_jumps,
        )
        self._diagnostics.publish(message)
