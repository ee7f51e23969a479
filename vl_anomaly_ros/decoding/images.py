# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/Image to RGB, without ROS: the same in the node and in offline replay.

Nothing is read but what the message's data hold, and nothing larger is allocated than they justify.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.decoding.encodings import BAYER, Encoding, check_size, encoding_of
from vl_anomaly_ros.decoding.payload import payload, shown
from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.types import ByteArray

_UNIT_SLACK = 0.01
"""32FC1 beyond 0..1 by more than this is no picture."""


def decode_image(message: Any) -> ByteArray:
    """The picture of a sensor_msgs/Image as (H, W, 3) uint8 RGB; of rgb8 and bgr8 without padding a read-only view.

    Padded rows and big-endian numbers are handled. 16 bits are scaled so that 65535 becomes 255, before colours are
    mixed: a demosaiced pixel is within one level of 255. 32FC1 is grey from 0 to 1. YUV is ITU-R BT.601, limited
    range. 8UC3 and 8UC4 are taken in OpenCV's order, blue first.

    Raises:
        DataError: unknown encoding, a size that is not taken, fewer bytes than the message says, or 32FC1 that is no
            picture (a depth image, or NaN).
    """
    name, height, width = message.encoding, int(message.height), int(message.width)
    encoding = encoding_of(name)
    check_size("image", width, height, encoding.channels * encoding.dtype.itemsize)
    stored = _stored(message, name, encoding, width, height)
    if encoding.dtype == np.float32:
        picture = _bytes_of_unit(cast("npt.NDArray[np.float32]", stored))
    elif encoding.dtype == np.uint16:
        picture = bytes_of_words(cast("npt.NDArray[np.uint16]", stored))
    else:
        picture = cast("ByteArray", stored)
    return to_rgb(picture, encoding.code, name)


def _stored(message: Any, name: str, encoding: Encoding, width: int, height: int) -> npt.NDArray[np.generic]:
    """The numbers as they lie in the message: (rows, W) or (rows, W, channels), a view where the byte order fits."""
    if (encoding.even_width and width % 2) or (encoding.even_height and height % 2):
        sides = "width and height" if encoding.even_height else "width"
        raise DataError(f"image: expected an even {sides} for {name}, got {width}x{height}; check the camera driver")
    step, size = int(message.step), encoding.dtype.itemsize
    rows = height * encoding.rows[0] // encoding.rows[1]
    row_bytes = width * encoding.channels * size
    data = payload("image", message.data)
    if step < row_bytes or len(data) < step * (rows - 1) + row_bytes:
        raise DataError(
            f"image: expected {rows} rows of at least {row_bytes} bytes for {width}x{height} {name}, got step "
            f"{step} and {len(data)} bytes; the message is damaged"
        )
    shape, strides = (rows, width, encoding.channels), (step, encoding.channels * size, size)
    dtype = encoding.dtype.newbyteorder(">" if message.is_bigendian else "<") if size > 1 else encoding.dtype
    view: npt.NDArray[np.generic] = np.ndarray(shape, dtype, buffer=data, strides=strides)
    if encoding.channels == 1:
        view = view[:, :, 0]
    # OpenCV reads whole numbers: a step or a buffer that is no multiple of them has to be copied.
    return np.require(view.astype(encoding.dtype, copy=False), requirements="A" if size > 1 else None)


def bytes_of_words(words: npt.NDArray[np.uint16]) -> ByteArray:
    """16 bits to 8: 65535 becomes 255, rounded to the nearest."""
    return cast("ByteArray", cv2.convertScaleAbs(words, alpha=255.0 / 65535.0))


def _bytes_of_unit(values: npt.NDArray[np.float32]) -> ByteArray:
    """Grey from 0 to 1 as 0 to 255, rounded to the nearest."""
    low, high = float(values.min()), float(values.max())
    if not (low >= -_UNIT_SLACK and high <= 1.0 + _UNIT_SLACK):  # NaN is neither
        raise DataError(
            f"image: expected 32FC1 between 0 and 1, got values from {low:g} to {high:g}; that is no picture, such as "
            "a depth image: remap the topic of the camera"
        )
    return cast("ByteArray", cv2.convertScaleAbs(np.clip(values, 0.0, 1.0), alpha=255.0))


def to_rgb(picture: ByteArray, code: int | None, name: str) -> ByteArray:
    """`picture` as (H, W, 3) RGB by an OpenCV colour code; None: it is RGB.

    Contiguous, but for BGR, which is read backwards: whoever shrinks it first swaps fewer pixels.

    Raises:
        DataError: a mosaic of less than 3 x 3 pixels, of which OpenCV would make black.
    """
    if code is None:
        return np.ascontiguousarray(picture)
    if code == cv2.COLOR_BGR2RGB and picture.flags.c_contiguous:
        return picture[:, :, ::-1]
    if code in BAYER.values() and min(picture.shape[:2]) < 3:
        size = f"{picture.shape[1]}x{picture.shape[0]}"
        raise DataError(f"image: expected at least 3x3 pixels for {shown(name)}, got {size}; check the camera driver")
    try:
        return cast("ByteArray", cv2.cvtColor(picture, code))
    except cv2.error:
        raise DataError(f"image: OpenCV cannot make RGB of {picture.shape} {shown(name)}; check the driver") from None
