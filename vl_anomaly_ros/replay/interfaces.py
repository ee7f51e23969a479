# SPDX-License-Identifier: Apache-2.0
"""Message types without ROS: the standard ones and those of this package, and small messages made of plain values."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from vl_anomaly_ros.errors import ReplayError

PACKAGE = "vl_anomaly_ros"
ANOMALIES = f"{PACKAGE}/msg/AnomalyArray"
ZONES = f"{PACKAGE}/msg/HazardZoneArray"
IMAGE = "sensor_msgs/msg/Image"
CLOUD = "sensor_msgs/msg/PointCloud2"
MARKERS = "visualization_msgs/msg/MarkerArray"

OUTPUT_TYPES = {
    "anomalies": ANOMALIES,
    "hazard_zones": ZONES,
    "score": IMAGE,
    "mask": IMAGE,
    "instances": IMAGE,
    "segmentation": IMAGE,
    "obstacle_points": CLOUD,
    "markers": MARKERS,
    "overlay": IMAGE,
}
"""What the node publishes below its name, with types."""


def message_folder() -> Path:
    """Folder of this package's .msg files: of the checkout, or of the installed package.

    Raises:
        ReplayError: there is none.
    """
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    candidates = [
        Path(__file__).resolve().parents[2] / "msg",
        *(prefix / "share" / PACKAGE / "msg" for prefix in (*prefixes, Path(sys.prefix))),
    ]
    for folder in candidates:
        if (folder / "AnomalyArray.msg").exists():
            return folder
    raise ReplayError(
        f"the message definitions of {PACKAGE} are not installed; expected AnomalyArray.msg in one of "
        f"{', '.join(map(str, candidates))}"
    )


@lru_cache(1)
def typestore() -> Typestore:
    """The standard messages and ours.

    Raises:
        ReplayError: our definitions are not installed.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    for path in sorted(message_folder().glob("*.msg")):
        store.register(get_types_from_msg(path.read_text(encoding="utf-8"), f"{PACKAGE}/msg/{path.stem}"))
    return store


def new(name: str, /, **values: Any) -> Any:
    """A message of a type such as "std_msgs/msg/Header"."""
    return typestore().types[name](**values)


def time_message(stamp_ns: int) -> Any:
    """A builtin_interfaces/Time."""
    return new("builtin_interfaces/msg/Time", sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def header_message(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header."""
    return new("std_msgs/msg/Header", stamp=time_message(stamp_ns), frame_id=frame_id)


def image_message(stamp_ns: int, frame_id: str, pixels: npt.NDArray[Any], encoding: str) -> Any:
    """A sensor_msgs/Image of (H, W) or (H, W, C) pixels."""
    pixels = np.ascontiguousarray(pixels)
    return new(
        IMAGE,
        header=header_message(stamp_ns, frame_id),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels.strides[0],
        data=pixels.reshape(-1).view(np.uint8),
    )


def vector(kind: str, xyz: Any) -> Any:
    """A geometry_msgs message of three numbers, such as "Point"."""
    x, y, z = (float(v) for v in xyz)
    return new(f"geometry_msgs/msg/{kind}", x=x, y=y, z=z)
