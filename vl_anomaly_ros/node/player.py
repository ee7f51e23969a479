# SPDX-License-Identifier: Apache-2.0
"""The other end of the node for replay: starts it as a process of its own and talks to it over DDS, serialised.

Topics, TF and diagnostics get a private namespace: a replay on a vehicle disturbs nothing that runs there.
"""

from __future__ import annotations

import logging
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

import rclpy
import yaml
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

import vl_anomaly_ros
from vl_anomaly_ros.errors import ReplayError
from vl_anomaly_ros.msg import AnomalyArray, HazardZoneArray

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

_OUTPUTS: dict[str, type[Any]] = {
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
_START_S = 120.0  # a large network takes long to load
_STOP_S = 10.0
_QUIET_S = 0.5  # `anomalies` is published last; what has not come so long after it was not published
_RELIABLE = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=20, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class NodePlayer:
    """The running node; a context manager.

    Args:
        parameters: dotted settings that differ from the defaults.
        compressed: images go out as CompressedImage.
        points: clouds go out.

    Raises:
        ReplayError: the node does not start, or refuses its settings; with the last lines that it said.
    """

    def __init__(self, parameters: Mapping[str, Any], *, compressed: bool, points: bool) -> None:
        self._namespace = f"/vl_anomaly_replay_{os.getpid()}"
        self._parameters = parameters
        self._inputs: dict[str, tuple[type[Any], QoSProfile]] = {
            "image": (CompressedImage if compressed else Image, _RELIABLE),
            "camera_info": (CameraInfo, _RELIABLE),
            "tf": (TFMessage, _RELIABLE),
            "tf_static": (TFMessage, _LATCHED),
        }
        if points:
            self._inputs["points"] = (PointCloud2, _RELIABLE)
        self._compressed = compressed
        self._folder = tempfile.TemporaryDirectory(prefix="vl_anomaly_replay_")
        self._log = Path(self._folder.name) / "node.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: dict[str, bytes] = {}
        self._heard_s = 0.0
        self._context = Context()

    def __enter__(self) -> Self:
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("player", namespace=self._namespace, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        try:
            self._publishers = {
                name: self._node.create_publisher(kind, self._topic(name), qos)
                for name, (kind, qos) in self._inputs.items()
            }
            self._subscriptions = [
                self._node.create_subscription(
                    kind, f"{self._namespace}/vl_anomaly/{name}", self._keeper(name), _RELIABLE, raw=True
                )
                for name, kind in _OUTPUTS.items()
            ]
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the node and leave DDS."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                logger.warning("the node did not stop within %g s and is killed", _STOP_S)
                self._process.kill()
                self._process.wait()
        self._process = None
        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)
        self._folder.cleanup()

    def publish(self, name: str, raw: bytes) -> None:
        """Publish a serialised message: image, camera_info, points, tf or tf_static."""
        self._publishers[name].publish(raw)

    def ask(self, raw_image: bytes, stamp_ns: int, timeout_s: float) -> tuple[dict[str, bytes], float]:
        """Publish an image and wait for what the node says of it.

        Args:
            raw_image: serialised.
            stamp_ns: its stamp.
            timeout_s: how long to wait for `anomalies`.

        Returns:
            Serialised messages of that stamp by output name, without "anomalies" where no answer came; and
            milliseconds from publishing the image to `anomalies`.

        Raises:
            ReplayError: the node has died.
        """
        self._answers.clear()
        started = perf_counter()
        self.publish("image", raw_image)
        until = monotonic() + timeout_s
        total_ms = 0.0
        while monotonic() < until:
            self._spin()
            answered = self._stamp_of("anomalies") == stamp_ns
            if answered and not total_ms:
                total_ms = (perf_counter() - started) * 1e3
            if answered and (len(self._answers) == len(_OUTPUTS) or monotonic() - self._heard_s > _QUIET_S):
                break
        return {name: raw for name, raw in self._answers.items() if self._stamp_of(name) == stamp_ns}, total_ms

    def pause(self, seconds: float) -> None:
        """Let the node take what was published."""
        until = monotonic() + seconds
        while monotonic() < until:
            self._executor.spin_once(timeout_sec=max(until - monotonic(), 0.0))

    def _topic(self, name: str) -> str:
        return f"{self._namespace}/{'image/compressed' if name == 'image' and self._compressed else name}"

    def _keeper(self, name: str) -> Callable[[bytes], None]:
        def keep(raw: bytes) -> None:
            self._answers[name] = bytes(raw)
            self._heard_s = monotonic()

        return keep

    def _stamp_of(self, name: str) -> int | None:
        """Stamp of an answer; of markers, that of the first one."""
        raw = self._answers.get(name)
        offset = 8 if name == "markers" else 4
        if raw is None or len(raw) < offset + 8:
            return None
        sec, nanosec = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, offset)
        return int(sec) * 1_000_000_000 + int(nanosec)

    def _spin(self) -> None:
        self._executor.spin_once(timeout_sec=0.1)
        if self._process is not None and self._process.poll() is not None:
            raise ReplayError(f"the node has ended with code {self._process.returncode}; it said: {self._last_words()}")

    def _start(self) -> None:
        """Start the process, configure and activate it, and wait until both ends know each other."""
        folder = Path(self._folder.name)
        node_name = f"{self._namespace}/vl_anomaly"
        content = {node_name: {"ros__parameters": dict(self._parameters)}}
        (folder / "parameters.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        words = [sys.executable, "-m", "vl_anomaly_ros.node", "--ros-args", "-r", f"__ns:={self._namespace}"]
        for name in ("/tf", "/tf_static", "/diagnostics"):
            words += ["-r", f"{name}:={self._namespace}{name}"]
        words += ["--params-file", str(folder / "parameters.yaml")]
        package_folder = Path(vl_anomaly_ros.__file__).resolve().parents[1]
        paths = [str(package_folder), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own module, no shell
                words,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,  # a Ctrl-C on the terminal is for us; we stop the node ourselves
            )
        self._change(Transition.TRANSITION_CONFIGURE, "configured")
        self._change(Transition.TRANSITION_ACTIVATE, "activated")
        self._until(
            lambda: (
                all(p.get_subscription_count() for p in self._publishers.values())
                and all(self._node.count_publishers(s.topic_name) for s in self._subscriptions)
            ),
            "connected over DDS",
        )
        self.pause(0.3)

    def _change(self, transition: int, word: str) -> None:
        client = self._node.create_client(ChangeState, f"{self._namespace}/vl_anomaly/change_state")
        self._until(client.service_is_ready, "started")
        self.pause(0.2)  # the service learns the way back to us a moment later
        future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
        self._until(future.done, word)
        if not future.result().success:
            raise ReplayError(f"the node could not be {word}; it said: {self._last_words()}")
        self._node.destroy_client(client)

    def _until(self, condition: Callable[[], bool], word: str) -> None:
        until = monotonic() + _START_S
        while not condition():
            self._spin()
            if monotonic() > until:
                raise ReplayError(f"the node was not {word} within {_START_S:g} s; it said: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines() if self._log.exists() else []
        return " | ".join(line.strip() for line in lines[-3:] if line.strip()) or "nothing"
