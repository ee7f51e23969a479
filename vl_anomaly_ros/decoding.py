# SPDX-License-Identifier: Apache-2.0
"""From sensor messages to arrays, without ROS.

The functions read attributes only (`height`, `encoding`, `data`, ...), so messages of rclpy and of a bag reader go
through the same code. Whatever a message claims is checked before its bytes are touched.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.types import ByteArray, CameraCalibration, FloatArray, PointCloud

# Encoding -> channels, bits, OpenCV code that makes RGB of it (None: it is RGB). A Bayer name tells the first two
# pixels of the first row; OpenCV names the same pattern after the second row and column.
_ENCODINGS: dict[str, tuple[int, int, int | None]] = {
    "rgb8": (3, 8, None),
    "bgr8": (3, 8, cv2.COLOR_BGR2RGB),
    "8UC3": (3, 8, cv2.COLOR_BGR2RGB),
    "rgba8": (4, 8, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, 8, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, 8, cv2.COLOR_BGRA2RGB),
    "mono8": (1, 8, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, 8, cv2.COLOR_GRAY2RGB),
    "rgb16": (3, 16, None),
    "bgr16": (3, 16, cv2.COLOR_BGR2RGB),
    "rgba16": (4, 16, cv2.COLOR_RGBA2RGB),
    "bgra16": (4, 16, cv2.COLOR_BGRA2RGB),
    "mono16": (1, 16, cv2.COLOR_GRAY2RGB),
    "16UC1": (1, 16, cv2.COLOR_GRAY2RGB),
    "bayer_rggb8": (1, 8, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, 8, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, 8, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, 8, cv2.COLOR_BayerGB2RGB),
    "bayer_rggb16": (1, 16, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr16": (1, 16, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg16": (1, 16, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg16": (1, 16, cv2.COLOR_BayerGB2RGB),
    "yuv422": (2, 8, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, 8, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, 8, cv2.COLOR_YUV2RGB_YUYV),
    "yuyv": (2, 8, cv2.COLOR_YUV2RGB_YUYV),
}
# sensor_msgs/PointField datatypes that can hold a coordinate.
_COORDINATE_TYPES = {7: "f4", 8: "f8"}


def stamp_ns(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces/Time."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _bytes_of(data: Any) -> npt.NDArray[np.uint8]:
    """The payload of a message as a flat uint8 array, without a copy."""
    return data.view(np.uint8).reshape(-1) if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)


def decode_image(message: Any) -> ByteArray:
    """The picture of a sensor_msgs/Image as (H, W, 3) uint8 RGB.

    16-bit images are scaled so that 65535 becomes 255. Row padding and big-endian data are handled.

    Raises:
        DataError: unknown encoding, no pixels, or fewer bytes than the message says.
    """
    encoding, height, width, step = message.encoding, int(message.height), int(message.width), int(message.step)
    if encoding not in _ENCODINGS:
        raise DataError(
            f"image: expected one of the encodings {', '.join(_ENCODINGS)}, got {encoding!r}; "
            "convert the topic with image_proc or the camera driver"
        )
    channels, bits, code = _ENCODINGS[encoding]
    row_bytes = width * channels * bits // 8
    data = _bytes_of(message.data)
    if height <= 0 or width <= 0:
        raise DataError(f"image: expected at least one pixel, got {width}x{height}; check the camera driver")
    if step < row_bytes or len(data) < step * (height - 1) + row_bytes:
        raise DataError(
            f"image: expected {height} rows of at least {row_bytes} bytes for {width}x{height} {encoding}, got step "
            f"{step} and {len(data)} bytes; the message is damaged"
        )
    rows = np.lib.stride_tricks.as_strided(data, (height, row_bytes), (step, 1), writeable=False)
    if bits == 16:
        wide = np.ascontiguousarray(rows).view(">u2" if message.is_bigendian else "<u2")
        rows = np.rint(wide.astype(np.float32) * (255.0 / 65535.0)).astype(np.uint8)
    picture = np.ascontiguousarray(rows.reshape(height, width, channels) if channels > 1 else rows)
    return _to_rgb(picture, code, encoding)


def _to_rgb(picture: ByteArray, code: int | None, encoding: str) -> ByteArray:
    """`picture` as RGB by an OpenCV colour code."""
    if code is None:
        return picture.copy() if not picture.flags.owndata else picture
    try:
        return cast("ByteArray", cv2.cvtColor(picture, code))
    except cv2.error as error:
        size = f"{picture.shape[1]}x{picture.shape[0]}"
        raise DataError(f"image: a {size} picture cannot be {encoding}: {error.err}; check the camera driver") from None


def decode_compressed(message: Any) -> ByteArray:
    """The picture of a sensor_msgs/CompressedImage (JPEG, PNG) as (H, W, 3) uint8 RGB.

    Raises:
        DataError: the data is no whole picture.
    """
    data = _bytes_of(message.data)
    if _cut_short(data):
        raise DataError(
            f"compressed image: {len(data)} bytes of format {message.format!r} stop before the end of the picture; "
            "the message is damaged"
        )
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # the calibration is that of the unturned picture
    try:
        picture = cv2.imdecode(data, flags) if len(data) else None
    except cv2.error:
        picture = None
    if picture is None:
        raise DataError(
            f"compressed image: expected a JPEG or PNG picture, got {len(data)} bytes of format {message.format!r} "
            "that cannot be decoded; the message is damaged"
        )
    return cast("ByteArray", cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def _cut_short(data: ByteArray) -> bool:
    """Whether a JPEG or PNG lacks its end mark. OpenCV would fill the rest with grey, which holds no anomaly."""
    head, tail = data[:8].tobytes(), data[-1024:].tobytes()
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in tail
    return head == b"\x89PNG\r\n\x1a\n" and b"IEND" not in tail


def decode_calibration(message: Any) -> CameraCalibration:
    """A sensor_msgs/CameraInfo as `CameraCalibration`.

    Raises:
        DataError: no image size or no focal length.
    """
    P = np.asarray(message.p, np.float64).reshape(3, 4)
    R = np.asarray(message.r, np.float64).reshape(3, 3)
    return CameraCalibration(
        width=int(message.width),
        height=int(message.height),
        K=np.asarray(message.k, np.float64).reshape(3, 3),
        frame_id=str(message.header.frame_id),
        D=np.asarray(message.d, np.float64).reshape(-1),
        distortion_model=str(message.distortion_model) or "plumb_bob",
        R=R if R.any() else np.eye(3),  # all zero: the driver left the field unset
        P=P if P.any() else None,
    )


def decode_cloud(message: Any) -> PointCloud:
    """The finite points of a sensor_msgs/PointCloud2, in the order of the message.

    Any order of fields, float32 or float64 coordinates, row padding and big-endian data are handled.

    Raises:
        DataError: x, y or z is absent or no float, or fewer bytes than the message says.
    """
    width, height = int(message.width), int(message.height)
    point_step, row_step = int(message.point_step), int(message.row_step)
    fields = {field.name: field for field in message.fields}
    order = ">" if message.is_bigendian else "<"
    formats: list[str] = []
    for axis in "xyz":
        if axis not in fields:
            raise DataError(f"point cloud: expected fields x, y and z, got {', '.join(fields) or 'none'}")
        datatype = _COORDINATE_TYPES.get(int(fields[axis].datatype))
        if datatype is None:
            raise DataError(
                f"point cloud: expected {axis} as float32 or float64, got datatype {fields[axis].datatype}; "
                "check the LiDAR driver"
            )
        if int(fields[axis].offset) + int(datatype[1]) > point_step:
            raise DataError(f"point cloud: field {axis} lies outside the {point_step} bytes of a point")
        formats.append(order + datatype)
    data = _bytes_of(message.data)
    if width * height == 0:
        return PointCloud(np.zeros((0, 3), np.float32), stamp_ns(message.header.stamp), str(message.header.frame_id))
    row_step = row_step if height > 1 else width * point_step
    if row_step < width * point_step or len(data) < row_step * (height - 1) + width * point_step:
        raise DataError(
            f"point cloud: expected {height} rows of {width} points of {point_step} bytes, got row step {row_step} and "
            f"{len(data)} bytes; the message is damaged"
        )
    layout = np.dtype(
        {
            "names": ["x", "y", "z"],
            "formats": formats,
            "offsets": [int(fields[axis].offset) for axis in "xyz"],
            "itemsize": point_step,
        }
    )
    points = np.ndarray((height, width), layout, buffer=data, strides=(row_step, point_step))
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite and is dropped
        xyz: FloatArray = np.stack([points[axis].astype(np.float32) for axis in "xyz"], axis=-1).reshape(-1, 3)
    finite = np.isfinite(xyz).all(axis=1)
    return PointCloud(
        np.ascontiguousarray(xyz if finite.all() else xyz[finite]),
        stamp_ns(message.header.stamp),
        str(message.header.frame_id),
    )
