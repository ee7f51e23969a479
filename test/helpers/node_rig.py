# SPDX-License-Identifier: Apache-2.0
"""Starts the real node in a process of its own and talks to it over DDS. Import it after `pytest.importorskip`.

The scene: a camera 1.5 m above the road looks along x; 10 m ahead stands a red thing, 2 m wide and 1.5 m high. It
covers pixels 144..175, 80..103 of the 320x160 image, and the LiDAR sees its front, the road, and a wall 40 m away.
"""

from __future__ import annotations

import array
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header
from std_srvs.srv import SetBool
from tf2_msgs.msg import TFMessage
from tiny_bundle import GREY, RED
from visualization_msgs.msg import MarkerArray
from vl_anomaly_ros.msg import AnomalyArray, HazardZoneArray
from vl_anomaly_ros.srv import GetVocabulary, SetVocabulary

ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT, FOCAL_PX = 320, 160, 160.0
TIMEOUT_S = 60.0
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")  # Kilted on; Jazzy and before
OUTPUTS = {
    "score": Image,
    "mask": Image,
    "instances": Image,
    "segmentation": Image,
    "overlay": Image,
    "obstacle_points": PointCloud2,
    "markers": MarkerArray,
    "hazard_zones": HazardZoneArray,
    "anomalies": AnomalyArray,
}
SHARED = ("obstacle_points", "markers", "hazard_zones")  # by all cameras; the others are each camera's own
SERVICES = {
    "change_state": ChangeState,
    "get_state": GetState,
    "get_available_states": GetAvailableStates,
    "get_available_transitions": GetAvailableTransitions,
    "set_parameters_atomically": SetParametersAtomically,
    "set_vocabulary": SetVocabulary,
    "get_vocabulary": GetVocabulary,
    "enable": SetBool,
}
TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
    "shutdown": Transition.TRANSITION_ACTIVE_SHUTDOWN,
}


def environment(domain: int) -> dict[str, str]:
    """Of both processes: this machine only, and the profile that carries large images (kept where ./run set one)."""
    local = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    if not any(name in os.environ for name in PROFILE_VARIABLES):
        local[PROFILE_VARIABLES[0]] = str(ROOT / "config" / "fastdds.xml")
    return {**os.environ, **local}


def scene_image() -> npt.NDArray[np.uint8]:
    """(160, 320, 3) uint8 RGB: the red thing on grey."""
    image = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    image[80:104, 144:176] = RED
    return image


def scene_points() -> npt.NDArray[np.float32]:
    """(N, 3) float32 in base_link: road, front of the thing, wall behind."""
    road = np.array([(x, y, 0.0) for x in np.arange(4, 40, 0.5) for y in np.arange(-10, 10.1, 0.5)])
    thing = np.array([(10.0, y, z) for y in np.arange(-0.95, 1.0, 0.1) for z in np.arange(0.2, 1.5, 0.1)])
    wall = np.array([(40.0, y, z) for y in np.arange(-15, 15.1, 0.5) for z in np.arange(0.5, 6, 0.5)])
    hidden = (np.abs(road[:, 1]) < road[:, 0] / 10.0) & (road[:, 0] > 10.0)
    return np.concatenate([road[~hidden], thing, wall]).astype(np.float32)


class NodeRig:
    """The node's process and a client of all its topics and services. Use as a context manager.

    Args:
        folder: for the node's log.
        parameters: of the node, by dotted name, in YAML notation.
        arguments: further command line of the node.
        cameras: names, as in node.cameras, where there are several: their topics begin with them.
        module: that Python runs, as the node.
        variables: further environment of the node.
    """

    def __init__(
        self,
        folder: Path,
        parameters: dict[str, str],
        arguments: tuple[str, ...] = (),
        *,
        cameras: tuple[str, ...] = (),
        module: str = "vl_anomaly_ros.node",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        domain = random.randint(1, 100)  # noqa: S311
        self.prefixes = tuple(f"{camera}/" for camera in cameras) or ("",)
        self.outputs = {
            name if name in SHARED else prefix + name: kind
            for prefix in self.prefixes
            for name, kind in OUTPUTS.items()
        }
        os.environ.update({k: v for k, v in environment(domain).items() if k != "ROS_DOMAIN_ID"})
        self.log = folder / f"node_{domain}.log"
        command = [sys.executable, "-m", module, "--ros-args", *arguments]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        with self.log.open("w") as log:
            own = {**environment(domain), **(variables or {})}
            self.process = subprocess.Popen(command, env=own, stdout=log, stderr=log, cwd=ROOT)
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("rig", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.received: dict[str, list[Any]] = {name: [] for name in [*self.outputs, "diagnostics"]}
        for name, kind in self.outputs.items():
            self.node.create_subscription(kind, f"/vl_anomaly/{name}", self.received[name].append, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self.received["diagnostics"].append, 10)
        self.clients = {n: self.node.create_client(k, f"/vl_anomaly/{n}") for n, k in SERVICES.items()}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.publishers = {
            "/points": self.node.create_publisher(PointCloud2, "/points", 10),
            "/tf": self.node.create_publisher(TFMessage, "/tf", 100),
            "/tf_static": self.node.create_publisher(TFMessage, "/tf_static", latched),
            "/clock": self.node.create_publisher(Clock, "/clock", 10),
        }
        of_camera = {"image": Image, "image/compressed": CompressedImage, "camera_info": CameraInfo}
        for prefix in self.prefixes:
            for name, kind in of_camera.items():
                topic = f"/{prefix}{name}"
                self.publishers[topic] = self.node.create_publisher(kind, topic, 10)

    def __enter__(self) -> NodeRig:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        try:
            self.until(lambda: all(one.service_is_ready() for one in self.clients.values()), "the node's services")
            settled_s = monotonic() + 0.2  # the services learn the way back a moment later
            self.until(lambda: monotonic() > settled_s, "the way back from the services")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def until(self, condition: Any, what: str, timeout_s: float = TIMEOUT_S) -> None:
        """Spin until `condition()` holds; fail with the node's log otherwise."""
        end_s = monotonic() + timeout_s
        while not condition():
            if self.process.poll() is not None or monotonic() > end_s:
                raise AssertionError(f"{what}: not seen (exit code {self.process.poll()})\n{self.log.read_text()}")
            self.executor.spin_once(timeout_sec=0.05)

    def call(self, service: str, request: Any) -> Any:
        """The reply of a service.

        DDS may know the way to a service before the service knows the way back: then the reply is lost, and what only
        asks is asked again.
        """
        asks = service.startswith("get_")
        for timeout_s in (*([TIMEOUT_S / 6] * 5 if asks else []), TIMEOUT_S):
            future = self.clients[service].call_async(request)
            try:
                self.until(future.done, f"reply of {service}", timeout_s)
            except AssertionError:
                if timeout_s == TIMEOUT_S or self.process.poll() is not None:
                    raise
            else:
                return future.result()
        raise AssertionError(f"no reply of {service}")

    def transition(self, name: str) -> bool:
        """Whether a lifecycle transition succeeded."""
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[name]))
        return bool(self.call("change_state", request).success)

    def state(self) -> str:
        """Label of the lifecycle state."""
        return str(self.call("get_state", GetState.Request()).current_state.label)

    def set_parameter(self, name: str, value: Any) -> Any:
        """Result (`successful`, `reason`) of setting one parameter."""
        parameter = Parameter(name, value=value).to_parameter_msg()
        return self.call("set_parameters_atomically", SetParametersAtomically.Request(parameters=[parameter])).result

    def start(self) -> None:
        """Configure, activate, and wait until the node hears the sensors and its outputs are heard."""
        assert self.transition("configure"), self.log.read_text()
        assert self.transition("activate"), self.log.read_text()
        self.connected()

    def connected(self, *, compressed: bool = False) -> None:
        """Wait for discovery in both directions."""
        image = "image/compressed" if compressed else "image"
        own = [f"/{prefix}{name}" for prefix in self.prefixes for name in (image, "camera_info")]
        sensors = [self.publishers[topic] for topic in (*own, "/points", "/tf", "/tf_static")]
        self.until(lambda: all(p.get_subscription_count() for p in sensors), "subscriptions of the node")
        topics = [f"/vl_anomaly/{name}" for name in self.outputs]
        self.until(lambda: all(self.node.count_publishers(t) for t in topics), "publishers of the node")

    def send_tf(self) -> None:
        """base_link -> camera (optical) and base_link -> lidar (the same place), static; all cameras see the same."""
        made = [TransformStamped(header=Header(frame_id="base_link"), child_frame_id="lidar")]
        for prefix in self.prefixes:
            camera = TransformStamped(header=Header(frame_id="base_link"), child_frame_id=optical_frame(prefix))
            camera.transform.translation.z = 1.5
            turn = camera.transform.rotation
            turn.x, turn.y, turn.z, turn.w = -0.5, 0.5, -0.5, 0.5
            made.append(camera)
        self.publishers["/tf_static"].publish(TFMessage(transforms=made))

    def send_motion(self, stamp_s: int) -> None:
        """odom -> base_link up to that moment: the vehicle stands."""
        made = []
        for stamp_ns in (stamp_s * 10**9 - 500_000_000, stamp_s * 10**9):
            header = Header(stamp=time_of(stamp_ns), frame_id="odom")
            made.append(TransformStamped(header=header, child_frame_id="base_link"))
        self.publishers["/tf"].publish(TFMessage(transforms=made))

    def send(
        self,
        stamp_s: int,
        *,
        image: npt.NDArray[np.uint8] | None = None,
        compressed: bytes | None = None,
        points: bool = True,
        points_age_ns: int = 0,
        info: bool = True,
        info_size: tuple[int, int] = (WIDTH, HEIGHT),
        camera: str = "",
    ) -> None:
        """CameraInfo, cloud and image of one moment; `camera` says whose, where there are several."""
        stamp = Time(sec=stamp_s)
        prefix = f"{camera}/" if camera else ""
        optical = Header(stamp=stamp, frame_id=optical_frame(prefix))
        if info:
            self.publishers[f"/{prefix}camera_info"].publish(info_message(optical, info_size))
        if points:
            swept = Header(stamp=time_of(stamp_s * 10**9 - points_age_ns), frame_id="lidar")
            self.publishers["/points"].publish(cloud_message(scene_points(), swept))
        if compressed is not None:
            message = CompressedImage(header=optical, format="png")
            message.data = array.array("B", compressed)
            self.publishers[f"/{prefix}image/compressed"].publish(message)
            return
        self.publishers[f"/{prefix}image"].publish(image_message(scene_image() if image is None else image, optical))

    def answer(self, stamp_s: int, camera: str = "") -> dict[str, Any]:
        """All outputs of one image, once anomalies and zones are in; what was not published is absent."""

        def found(name: str) -> list[Any]:
            topic = f"{camera}/{name}" if camera and name not in SHARED else name
            return [m for m in self.received[topic] if _stamp_s(m) == stamp_s]

        self.until(lambda: found("anomalies") and found("hazard_zones"), f"the answer to the image at {stamp_s} s")
        end_s = monotonic() + 1.0  # the rest was published before, but comes by other readers
        while monotonic() < end_s and not all(found(name) for name in OUTPUTS):
            self.executor.spin_once(timeout_sec=0.02)
        return {name: found(name)[-1] for name in OUTPUTS if found(name)}

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=TIMEOUT_S)


def time_of(stamp_ns: int) -> Time:
    """Nanoseconds as a message."""
    return Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)


def optical_frame(prefix: str) -> str:
    """Frame of the camera whose topics begin with this."""
    return f"{prefix.rstrip('/') or 'camera'}_optical"


def info_message(header: Header, size: tuple[int, int] = (WIDTH, HEIGHT)) -> CameraInfo:
    """CameraInfo of the scene's camera, without distortion."""
    info = CameraInfo(header=header, width=size[0], height=size[1], distortion_model="plumb_bob")
    info.k = [FOCAL_PX, 0.0, WIDTH / 2, 0.0, FOCAL_PX, HEIGHT / 2, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    return info


def image_message(pixels: npt.NDArray[np.uint8], header: Header) -> Image:
    """An rgb8 Image of (H, W, 3) pixels."""
    raw = Image(header=header, height=pixels.shape[0], width=pixels.shape[1], encoding="rgb8")
    raw.step, raw.data = 3 * pixels.shape[1], array.array("B", pixels.tobytes())
    return raw


def cloud_message(xyz: npt.NDArray[np.float32], header: Header) -> PointCloud2:
    """An unorganised PointCloud2 with x, y, z and padding."""
    padded = np.zeros((len(xyz), 4), np.float32)
    padded[:, :3] = xyz
    message = PointCloud2(header=header, height=1, width=len(xyz), point_step=16, row_step=16 * len(xyz))
    message.fields = [PointField(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate("xyz")]
    message.data = array.array("B", padded.tobytes())
    return message


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """RGB pixels as PNG."""
    return bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())


def pixels_of(message: Image, dtype: str) -> npt.NDArray[Any]:
    """(H, W) pixels of a one-channel image."""
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def _stamp_s(message: Any) -> int:
    header = message.markers[0].header if isinstance(message, MarkerArray) else message.header
    return int(header.stamp.sec)
