# SPDX-License-Identifier: Apache-2.0
"""Writes small bags without ROS: a red thing on a grey road, seen by a camera and a LiDAR.

The camera sits 1.5 m above the road and looks along x of `base_link`; 10 m ahead stands a red thing, 2 m wide and 1.5 m
high, which covers pixels 144..175, 80..103 of the 320x160 image. The ego vehicle drives at 10 m/s along x of `odom`.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from tiny_bundle import GREY, RED

STORE = get_typestore(Stores.ROS2_JAZZY)
WIDTH, HEIGHT, FOCAL_PX = 320, 160, 160.0
THING_PX = (144, 80, 176, 104)  # x0, y0, x1, y1
SECOND_NS = 1_000_000_000
EGO_MPS = 10.0
Pixels = npt.NDArray[np.uint8]


def new(name: str, /, **values: Any) -> Any:
    return STORE.types[name](**values)


def header(stamp_ns: int, frame_id: str) -> Any:
    stamp = new("builtin_interfaces/msg/Time", sec=stamp_ns // SECOND_NS, nanosec=stamp_ns % SECOND_NS)
    return new("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def road_picture(shift_px: int = 0) -> Pixels:
    """(160, 320, 3) RGB; the red thing is shifted to the right."""
    picture = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    x0, y0, x1, y1 = THING_PX
    picture[y0:y1, x0 + shift_px : x1 + shift_px] = RED
    return picture


def road_points() -> npt.NDArray[np.float32]:
    """(N, 3) in base_link: road, the front of the thing, a wall at 40 m."""
    x, y = (v.ravel() for v in np.meshgrid(np.arange(2, 38, 0.5), np.arange(-8, 8, 0.5)))
    road = np.stack([x, y, np.zeros_like(x)], 1)
    y, z = (v.ravel() for v in np.meshgrid(np.arange(-1, 1.01, 0.1), np.arange(0.05, 1.5, 0.1)))
    front = np.stack([np.full_like(y, 10.0), y, z], 1)
    y, z = (v.ravel() for v in np.meshgrid(np.arange(-20, 20, 0.5), np.arange(0, 6, 0.5)))
    wall = np.stack([np.full_like(y, 40.0), y, z], 1)
    return np.concatenate([road, front, wall]).astype(np.float32)


def swept_points() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """`road_points` as a sensor sees them that turns to the right while the vehicle drives on, and their times."""
    xyz = road_points()
    times_s = (0.05 - 0.1 * np.arctan2(xyz[:, 1], xyz[:, 0]) / np.pi).astype(np.float32)
    xyz[:, 0] -= times_s * EGO_MPS  # it has come nearer by then
    return xyz, times_s


class BagMaker:
    """A bag being written; a context manager. `log_ns` None: the time of recording is the stamp."""

    def __init__(self, path: Path, storage: str = "mcap", compression: CompressionMode = CompressionMode.NONE) -> None:
        self.path = path
        self._writer = Writer(path, version=8, storage_plugin=StoragePlugin[storage.upper()])
        self._writer.set_compression(compression, CompressionFormat.ZSTD)
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> BagMaker:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._writer.close()

    def write(self, topic: str, message: Any, log_ns: int, *, cut_to: int | None = None) -> None:
        """Write a message; with `cut_to`, only so many of its bytes."""
        raw = bytes(STORE.serialize_cdr(message, message.__msgtype__))
        self.write_raw(topic, message.__msgtype__, raw[:cut_to], log_ns)

    def write_raw(self, topic: str, msgtype: str, raw: bytes, log_ns: int, store: Any = STORE) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, msgtype, typestore=store)
        self._writer.write(self._connections[topic], log_ns, raw)

    def image(
        self, stamp_ns: int, pixels: Pixels, topic: str = "/camera/image_raw", frame: str = "camera_optical",
        encoding: str = "rgb8", padding: int = 0, log_ns: int | None = None, cut_to: int | None = None,
    ) -> None:  # fmt: skip
        rows = np.pad(pixels.reshape(len(pixels), -1), ((0, 0), (0, padding)), constant_values=77)
        message = new(
            "sensor_msgs/msg/Image", header=header(stamp_ns, frame), height=pixels.shape[0], width=pixels.shape[1],
            encoding=encoding, is_bigendian=0, step=rows.shape[1], data=rows.ravel(),
        )  # fmt: skip
        self.write(topic, message, stamp_ns if log_ns is None else log_ns, cut_to=cut_to)

    def compressed(
        self, stamp_ns: int, pixels: Pixels, topic: str = "/camera/image_raw/compressed", kind: str = "png",
        keep: float = 1.0,
    ) -> None:  # fmt: skip
        _, data = cv2.imencode(f".{kind}", pixels[..., ::-1])
        message = new(
            "sensor_msgs/msg/CompressedImage", header=header(stamp_ns, "camera_optical"), format=kind,
            data=data[: int(len(data) * keep)],
        )  # fmt: skip
        self.write(topic, message, stamp_ns)

    def info(
        self, stamp_ns: int, topic: str = "/camera/camera_info", frame: str = "camera_optical", width: int = WIDTH
    ) -> None:
        K = [FOCAL_PX, 0.0, (WIDTH - 1) / 2, 0.0, FOCAL_PX, (HEIGHT - 1) / 2, 0.0, 0.0, 1.0]
        roi = new("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        message = new(
            "sensor_msgs/msg/CameraInfo", header=header(stamp_ns, frame), height=HEIGHT, width=width,
            distortion_model="plumb_bob", d=np.zeros(5), k=np.array(K), r=np.eye(3).ravel(),
            p=np.array([*K[:3], 0, *K[3:6], 0, *K[6:], 0.0]), binning_x=0, binning_y=0, roi=roi,
        )  # fmt: skip
        self.write(topic, message, stamp_ns)

    def cloud(
        self, stamp_ns: int, xyz: npt.NDArray[np.float32], topic: str = "/lidar/points", frame: str = "lidar",
        log_ns: int | None = None, times_s: npt.NDArray[np.float32] | None = None,
    ) -> None:  # fmt: skip
        """`times_s`: (N,) after the stamp, for each point."""
        names = ["x", "y", "z"] if times_s is None else ["x", "y", "z", "time"]
        table = xyz if times_s is None else np.column_stack([xyz, times_s])
        fields = [
            new("sensor_msgs/msg/PointField", name=name, offset=4 * i, datatype=7, count=1)
            for i, name in enumerate(names)
        ]
        step = 4 * len(names)
        message = new(
            "sensor_msgs/msg/PointCloud2", header=header(stamp_ns, frame), height=1, width=len(xyz), fields=fields,
            is_bigendian=False, point_step=step, row_step=step * len(xyz), is_dense=True,
            data=np.ascontiguousarray(table, "<f4").view(np.uint8).ravel(),
        )  # fmt: skip
        self.write(topic, message, stamp_ns if log_ns is None else log_ns)

    def transform(
        self, stamp_ns: int, parent: str, child: str, xyz: tuple[float, float, float],
        quaternion: tuple[float, float, float, float] = (0, 0, 0, 1), static: bool = False, log_ns: int | None = None,
    ) -> None:  # fmt: skip
        x, y, z = (float(v) for v in xyz)
        qx, qy, qz, qw = (float(v) for v in quaternion)
        item = new(
            "geometry_msgs/msg/TransformStamped", header=header(stamp_ns, parent), child_frame_id=child,
            transform=new(
                "geometry_msgs/msg/Transform",
                translation=new("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
                rotation=new("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
            ),
        )  # fmt: skip
        topic = "/tf_static" if static else "/tf"
        self.write(topic, new("tf2_msgs/msg/TFMessage", transforms=[item]), stamp_ns if log_ns is None else log_ns)

    def mountings(self, stamp_ns: int = 0) -> None:
        """Camera and LiDAR on the vehicle; the LiDAR is at the origin of base_link."""
        optical = (-0.5, 0.5, -0.5, 0.5)  # x right, y down, z forward
        self.transform(stamp_ns, "base_link", "camera_optical", (0, 0, 1.5), optical, static=True)
        self.transform(stamp_ns, "base_link", "lidar", (0, 0, 0), static=True)


def drive_bag(
    path: Path, *, frames: int = 3, storage: str = "mcap", compression: CompressionMode = CompressionMode.NONE,
    moving: bool = False, swept: bool = False, points: bool = True, info: bool = True, tf: bool = True,
    cameras: tuple[str, ...] = ("camera",),
) -> Path:  # fmt: skip
    """A whole drive: images at 1.0, 1.2, ... s.

    With `moving`, odom -> base_link is recorded at 50 Hz and clouds are 80 ms older than images and recorded late. With
    `swept` as well, the sensor needs 100 ms for a cloud: what lies left of it is seen first.
    """
    with BagMaker(path, storage, compression) as bag:
        if tf:
            bag.mountings()
        events: list[tuple[int, str, int]] = []
        for i in range(frames):
            stamp = SECOND_NS + i * SECOND_NS // 5
            events += [(stamp, "image", stamp)]
            if points:
                cloud_ns = stamp - 80_000_000 if moving else stamp
                events += [(stamp + 10_000_000, "cloud", cloud_ns)]
        if moving:
            events += [(n + 1_000_000, "tf", n) for n in range(SECOND_NS // 2, 2 * SECOND_NS, SECOND_NS // 50)]
        for log_ns, kind, stamp in sorted(events):
            if kind == "image":
                for name in cameras:
                    if info:
                        bag.info(stamp, f"/{name}/camera_info")
                    bag.image(stamp, road_picture(), f"/{name}/image_raw", log_ns=log_ns)
            elif kind == "cloud":
                xyz, times_s = swept_points() if swept else (road_points(), None)
                bag.cloud(stamp, xyz, log_ns=log_ns, times_s=times_s)
            else:
                x = stamp * 1e-9 * EGO_MPS
                bag.transform(stamp, "odom", "base_link", (x, 0, 0), log_ns=log_ns)
    return path


def foreign_bag(path: Path) -> Path:
    """A bag whose only topic is of a type that nobody knows."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("int32 a", "acme_msgs/msg/Thing"))
    with BagMaker(path) as bag:
        raw = bytes(store.serialize_cdr(store.types["acme_msgs/msg/Thing"](a=1), "acme_msgs/msg/Thing"))
        bag.write_raw("/thing", "acme_msgs/msg/Thing", raw, SECOND_NS, store)
    return path
