# SPDX-License-Identifier: Apache-2.0
"""Writes what the simulated sensors see as a ROS 2 bag (MCAP, zstd), without ROS."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from vl_anomaly_ros.errors import SimulationError

from .camera import Intrinsics
from .lidar import Sweep
from .scene import FloatArray

if TYPE_CHECKING:
    from typing_extensions import Self

_FOREVER = QosTime(2147483647, 4294967295)


def _qos(depth: int, *, reliable: bool, latched: bool = False) -> Qos:
    return Qos(
        QosHistory.KEEP_LAST,
        depth,
        QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        _FOREVER,
        _FOREVER,
        QosLiveliness.AUTOMATIC,
        _FOREVER,
        avoid_ros_namespace_conventions=False,
    )


def quaternion_of(rotation: FloatArray) -> tuple[float, float, float, float]:
    """Unit quaternion x, y, z, w of a rotation matrix (3, 3); w is not negative."""
    trace = float(np.trace(rotation))
    values = np.array(
        [
            [1 + 2 * rotation[0, 0] - trace, rotation[0, 1] + rotation[1, 0], rotation[0, 2] + rotation[2, 0],
             rotation[2, 1] - rotation[1, 2]],
            [0, 1 + 2 * rotation[1, 1] - trace, rotation[1, 2] + rotation[2, 1], rotation[0, 2] - rotation[2, 0]],
            [0, 0, 1 + 2 * rotation[2, 2] - trace, rotation[1, 0] - rotation[0, 1]],
            [0, 0, 0, 1 + trace],
        ]
    )  # fmt: skip
    symmetric = values + np.triu(values, 1).T
    row = symmetric[int(np.diag(symmetric).argmax())]
    row = row / np.linalg.norm(row) * (1.0 if row[3] >= 0 else -1.0)
    x, y, z, w = (float(v) + 0.0 for v in row)
    return x, y, z, w


class BagWriter:
    """A bag being written; messages must come in the order of their log time.

    Args:
        path: folder of the bag; must not exist.
        raw_images: `sensor_msgs/Image` on /camera/image_raw instead of JPEG on /camera/image_raw/compressed.

    Raises:
        SimulationError: the folder exists.
    """

    def __init__(self, path: Path, *, raw_images: bool) -> None:
        if path.exists():
            raise SimulationError(f"{path}: expected a folder that does not exist yet; remove it or name another")
        self._store = get_typestore(Stores.ROS2_HUMBLE)
        self._raw = raw_images
        # Format 8 is read by Humble and by everything later; 9 is not read by Humble.
        self._writer = Writer(path, version=8, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._writer.open()
        image = ("/camera/image_raw", "Image") if self._raw else ("/camera/image_raw/compressed", "CompressedImage")
        for topic, kind, qos in (
            (image[0], f"sensor_msgs/msg/{image[1]}", _qos(5, reliable=False)),
            ("/camera/camera_info", "sensor_msgs/msg/CameraInfo", _qos(5, reliable=False)),
            ("/lidar/points", "sensor_msgs/msg/PointCloud2", _qos(5, reliable=False)),
            ("/tf", "tf2_msgs/msg/TFMessage", _qos(100, reliable=True)),
            ("/tf_static", "tf2_msgs/msg/TFMessage", _qos(1, reliable=True, latched=True)),
            ("/odom", "nav_msgs/msg/Odometry", _qos(10, reliable=True)),
        ):
            connection = self._writer.add_connection(topic, kind, typestore=self._store, offered_qos_profiles=[qos])
            self._connections["image" if "image_raw" in topic else topic] = connection
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, value, trace)

    # -- messages ---------------------------------------------------------------------------------------------------

    def _type(self, name: str) -> Any:
        return self._store.types[name]

    def _write(self, key: str, log_ns: int, message: Any) -> None:
        connection = self._connections[key]
        self._writer.write(connection, log_ns, self._store.serialize_cdr(message, connection.msgtype))

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        stamp = self._type("builtin_interfaces/msg/Time")(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return self._type("std_msgs/msg/Header")(stamp=stamp, frame_id=frame_id)

    def image(self, log_ns: int, stamp_ns: int, picture: NDArray[np.uint8], jpeg: bytes) -> None:
        """One picture: the (H, W, 3) RGB array for a raw topic, the JPEG bytes for a compressed one."""
        header = self._header(stamp_ns, "camera_front_optical")
        if self._raw:
            height, width = picture.shape[:2]
            message = self._type("sensor_msgs/msg/Image")(
                header=header, height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width,
                data=picture.reshape(-1))  # fmt: skip
        else:
            message = self._type("sensor_msgs/msg/CompressedImage")(
                header=header, format="rgb8; jpeg compressed bgr8", data=np.frombuffer(jpeg, np.uint8))  # fmt: skip
        self._write("image", log_ns, message)

    def camera_info(self, log_ns: int, stamp_ns: int, intrinsics: Intrinsics) -> None:
        """Intrinsics at the stamp of the picture they belong to."""
        k = intrinsics.matrix
        roi = self._type("sensor_msgs/msg/RegionOfInterest")(
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        message = self._type("sensor_msgs/msg/CameraInfo")(
            header=self._header(stamp_ns, "camera_front_optical"),
            height=intrinsics.height_px,
            width=intrinsics.width_px,
            distortion_model="plumb_bob",
            d=np.zeros(5),
            k=k.ravel(),
            r=np.eye(3).ravel(),
            p=np.hstack([k, np.zeros((3, 1))]).ravel(),
            binning_x=0,
            binning_y=0,
            roi=roi,
        )
        self._write("/camera/camera_info", log_ns, message)

    def cloud(self, log_ns: int, stamp_ns: int, sweep: Sweep) -> None:
        """One sweep: x, y, z, intensity as float32, ring as uint16, 18 bytes a point; with times, t as uint32 too."""
        layout = [("xyz", "<f4", 3), ("intensity", "<f4"), ("ring", "<u2")]
        fields = [("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("intensity", 12, 7), ("ring", 16, 4)]
        if sweep.time_ns is not None:
            layout.append(("t", "<u4"))
            fields.append(("t", 18, 6))
        kind = np.dtype(layout)
        points = np.zeros(len(sweep.points), kind)
        points["xyz"], points["intensity"], points["ring"] = sweep.points, sweep.intensity, sweep.ring
        if sweep.time_ns is not None:
            points["t"] = sweep.time_ns
        field = self._type("sensor_msgs/msg/PointField")
        message = self._type("sensor_msgs/msg/PointCloud2")(
            header=self._header(stamp_ns, "lidar_top"),
            height=1,
            width=len(points),
            fields=[field(name=name, offset=at, datatype=of, count=1) for name, at, of in fields],
            is_bigendian=False,
            point_step=kind.itemsize,
            row_step=kind.itemsize * len(points),
            data=np.frombuffer(points.tobytes(), np.uint8),
            is_dense=True,
        )
        self._write("/lidar/points", log_ns, message)

    def _transform(self, stamp_ns: int, parent: str, child: str, pose: FloatArray) -> Any:
        vector, quaternion = self._type("geometry_msgs/msg/Vector3"), self._type("geometry_msgs/msg/Quaternion")
        x, y, z, w = quaternion_of(pose[:3, :3])
        transform = self._type("geometry_msgs/msg/Transform")(
            translation=vector(*(float(v) for v in pose[:3, 3])), rotation=quaternion(x=x, y=y, z=z, w=w))  # fmt: skip
        return self._type("geometry_msgs/msg/TransformStamped")(
            header=self._header(stamp_ns, parent), child_frame_id=child, transform=transform)  # fmt: skip

    def static_transforms(self, log_ns: int, stamp_ns: int, poses: dict[str, FloatArray]) -> None:
        """Sensor poses in base_link, child frame -> (4, 4)."""
        transforms = [self._transform(stamp_ns, "base_link", child, pose) for child, pose in poses.items()]
        self._write("/tf_static", log_ns, self._type("tf2_msgs/msg/TFMessage")(transforms=transforms))

    def odometry(
        self, log_ns: int, stamp_ns: int, pose_odom_base: FloatArray, speed_mps: float, yaw_rate: float
    ) -> None:
        """/odom and the transform odom -> base_link."""
        transform = self._transform(stamp_ns, "odom", "base_link", pose_odom_base)
        self._write("/tf", log_ns, self._type("tf2_msgs/msg/TFMessage")(transforms=[transform]))
        point, vector = self._type("geometry_msgs/msg/Point"), self._type("geometry_msgs/msg/Vector3")
        pose = self._type("geometry_msgs/msg/Pose")(
            position=point(*(float(v) for v in pose_odom_base[:3, 3])), orientation=transform.transform.rotation
        )
        twist = self._type("geometry_msgs/msg/Twist")(
            linear=vector(speed_mps, 0.0, 0.0), angular=vector(0.0, 0.0, yaw_rate)
        )
        message = self._type("nav_msgs/msg/Odometry")(
            header=self._header(stamp_ns, "odom"),
            child_frame_id="base_link",
            pose=self._type("geometry_msgs/msg/PoseWithCovariance")(pose=pose, covariance=np.zeros(36)),
            twist=self._type("geometry_msgs/msg/TwistWithCovariance")(twist=twist, covariance=np.zeros(36)),
        )
        self._write("/odom", log_ns, message)
