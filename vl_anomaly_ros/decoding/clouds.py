# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/PointCloud2 to points, without ROS: the same in the node and in offline replay."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.decoding.payload import payload, shown, stamp_ns
from vl_anomaly_ros.decoding.point_times import TIME_FIELDS, TIME_TYPES, offsets_ns
from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.types import ByteArray, FloatArray, PointCloud

# sensor_msgs/PointField datatypes that can hold a coordinate.
_COORDINATE_TYPES = {7: "f4", 8: "f8"}
_NAMES_SHOWN = 12


def decode_cloud(message: Any) -> PointCloud:
    """The finite points of a sensor_msgs/PointCloud2 with their times, in the order of the message.

    Any order of fields, float32 or float64 coordinates, row padding and big-endian data are handled; `is_dense` is
    not believed. A time of each point that cannot be used costs the cloud nothing but those times:
    `PointCloud.offsets_ns` is None, and `PointCloud.notes` says why.

    Raises:
        DataError: x, y or z is absent, doubled or no float, or fewer bytes than the message says.
    """
    width, height, point_step = int(message.width), int(message.height), int(message.point_step)
    counts = Counter(field.name for field in message.fields)
    fields = {field.name: field for field in message.fields}
    for axis in "xyz":
        _check_coordinate(axis, fields, counts, point_step)
    if len({int(fields[axis].offset) for axis in "xyz"}) < 3:
        raise DataError("point cloud: expected x, y and z in different places, got one offset; check the LiDAR driver")
    stamp, frame_id = stamp_ns(message.header.stamp), str(message.header.frame_id)
    if width * height == 0:
        return PointCloud(np.zeros((0, 3), np.float32), stamp, frame_id)
    layout = _Layout.of(message, width, height, point_step)
    xyz: FloatArray = np.empty((height * width, 3), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 becomes infinite and is dropped
        for i, axis in enumerate("xyz"):
            datatype = _COORDINATE_TYPES[int(fields[axis].datatype)]
            # Gathered first, spread then: a third of the time where the points are not aligned.
            xyz[:, i] = np.ascontiguousarray(layout.column(int(fields[axis].offset), datatype)).ravel()
        kept = None if np.isfinite(xyz.sum()) else _finite_rows(xyz)
    if kept is not None:
        xyz = xyz.take(kept, axis=0)
    notes: list[str] = []
    for name in (name for name in TIME_FIELDS if name in fields):
        times, note = _times(name, fields[name], counts[name], layout, kept, stamp)
        if times is not None:
            return PointCloud(xyz, stamp, frame_id, times)
        notes.append(note)
    return PointCloud(xyz, stamp, frame_id, notes=tuple(notes))


def _check_coordinate(axis: str, fields: dict[str, Any], counts: Counter[str], point_step: int) -> None:
    """Raise `DataError` unless a field is one float that lies within a point."""
    if axis not in fields:
        names = ", ".join(shown(name) for name in list(fields)[:_NAMES_SHOWN]) or "none"
        raise DataError(f"point cloud: expected fields x, y and z, got {names}; check the LiDAR driver")
    field = fields[axis]
    datatype = _COORDINATE_TYPES.get(int(field.datatype))
    if datatype is None:
        raise DataError(
            f"point cloud: expected {axis} as float32 or float64, got datatype {field.datatype}; check the LiDAR driver"
        )
    if counts[axis] > 1 or int(field.count) > 1:  # some drivers leave the count 0
        raise DataError(
            f"point cloud: expected one {axis} a point, got {counts[axis]} fields of that name, the last with "
            f"{field.count} numbers; check the LiDAR driver"
        )
    if int(field.offset) + int(datatype[1]) > point_step:
        raise DataError(
            f"point cloud: expected field {axis} within the {point_step} bytes of a point, got offset {field.offset}; "
            "the message is damaged"
        )


@dataclass(frozen=True)
class _Layout:
    """Where the points of a message lie; every place is within the data."""

    data: ByteArray
    shape: tuple[int, int]
    strides: tuple[int, int]
    order: str

    @staticmethod
    def of(message: Any, width: int, height: int, point_step: int) -> _Layout:
        data = payload("point cloud", message.data)
        row_step = int(message.row_step) if height > 1 else width * point_step  # many drivers leave it 0
        if row_step < width * point_step or len(data) < row_step * (height - 1) + width * point_step:
            raise DataError(
                f"point cloud: expected {height} rows of {width} points of {point_step} bytes, got row step {row_step} "
                f"and {len(data)} bytes; the message is damaged"
            )
        order = ">" if message.is_bigendian else "<"
        return _Layout(data, (height, width), (row_step, point_step), order)

    def column(self, offset: int, datatype: str) -> npt.NDArray[Any]:
        """(height, width) view of one field."""
        view: npt.NDArray[Any] = np.ndarray(
            self.shape, self.order + datatype, buffer=self.data, offset=offset, strides=self.strides
        )
        return view


def _finite_rows(xyz: FloatArray) -> npt.NDArray[np.intp]:
    x, y, z = np.isfinite(xyz).T
    return np.asarray(np.flatnonzero(x & y & z), np.intp)


def _times(
    name: str, field: Any, fields_of_that_name: int, layout: _Layout, kept: npt.NDArray[np.intp] | None, stamp: int
) -> tuple[npt.NDArray[np.int64] | None, str]:
    """Times of the kept points after the stamp, or None and why not."""
    datatype = TIME_TYPES.get(int(field.datatype))
    if datatype is None or fields_of_that_name > 1 or int(field.count) > 1:
        return None, (
            f"times of the points: expected one number of 32 or 64 bits in field {name}, got {fields_of_that_name} "
            f"fields of that name, the last with datatype {field.datatype} and count {field.count}"
        )
    if int(field.offset) + int(datatype[1]) > layout.strides[1]:
        return None, f"times of the points: field {name} lies outside the {layout.strides[1]} bytes of a point"
    values = layout.column(int(field.offset), datatype).astype(datatype).ravel()
    return offsets_ns(name, values if kept is None else values.take(kept), stamp)
