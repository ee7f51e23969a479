# SPDX-License-Identifier: Apache-2.0
"""The encodings of sensor_msgs/Image that become RGB, and which sizes of a picture are taken at all."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vl_anomaly_ros.decoding.payload import shown
from vl_anomaly_ros.errors import DataError

MAX_SIDE_PX = 16384
MAX_PICTURE_BYTES = 2**28
"""Of one decoded picture: 89 megapixels of 8-bit RGB. No camera for vehicles comes near."""


@dataclass(frozen=True)
class Encoding:
    """How the pixels of an encoding lie in memory, and the OpenCV code that makes RGB of them (None: it is RGB).

    Attributes:
        channels: numbers a pixel, as stored.
        dtype: of one number, native byte order.
        code: OpenCV colour code.
        rows: rows of data a row of the picture, as a fraction: (3, 2) for 4:2:0.
        even_width, even_height: two pixels share their colour in that direction.
    """

    channels: int
    dtype: np.dtype[np.generic]
    code: int | None
    rows: tuple[int, int] = (1, 1)
    even_width: bool = False
    even_height: bool = False


_U8, _U16, _F32 = np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32)
_UYVY = Encoding(2, _U8, cv2.COLOR_YUV2RGB_UYVY, even_width=True)
_YUYV = Encoding(2, _U8, cv2.COLOR_YUV2RGB_YUYV, even_width=True)
# A Bayer name tells the first two pixels of the first row; OpenCV names the same pattern after the second row and
# column.
BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
ENCODINGS: dict[str, Encoding] = {
    "rgb8": Encoding(3, _U8, None),
    "bgr8": Encoding(3, _U8, cv2.COLOR_BGR2RGB),
    "8UC3": Encoding(3, _U8, cv2.COLOR_BGR2RGB),
    "rgba8": Encoding(4, _U8, cv2.COLOR_RGBA2RGB),
    "bgra8": Encoding(4, _U8, cv2.COLOR_BGRA2RGB),
    "8UC4": Encoding(4, _U8, cv2.COLOR_BGRA2RGB),
    "mono8": Encoding(1, _U8, cv2.COLOR_GRAY2RGB),
    "8UC1": Encoding(1, _U8, cv2.COLOR_GRAY2RGB),
    "rgb16": Encoding(3, _U16, None),
    "bgr16": Encoding(3, _U16, cv2.COLOR_BGR2RGB),
    "rgba16": Encoding(4, _U16, cv2.COLOR_RGBA2RGB),
    "bgra16": Encoding(4, _U16, cv2.COLOR_BGRA2RGB),
    "mono16": Encoding(1, _U16, cv2.COLOR_GRAY2RGB),
    "16UC1": Encoding(1, _U16, cv2.COLOR_GRAY2RGB),
    "32FC1": Encoding(1, _F32, cv2.COLOR_GRAY2RGB),
    **{f"bayer_{name}8": Encoding(1, _U8, code) for name, code in BAYER.items()},
    **{f"bayer_{name}16": Encoding(1, _U16, code) for name, code in BAYER.items()},
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": Encoding(1, _U8, cv2.COLOR_YUV2RGB_NV12, (3, 2), even_width=True, even_height=True),
    "nv21": Encoding(1, _U8, cv2.COLOR_YUV2RGB_NV21, (3, 2), even_width=True, even_height=True),
}


def encoding_of(name: str) -> Encoding:
    """What an encoding of this name means; `DataError` where it is none of ours."""
    if name not in ENCODINGS:
        raise DataError(
            f"image: expected one of the encodings {', '.join(ENCODINGS)}, got {shown(name)}; "
            "convert the topic with image_proc or the camera driver"
        )
    return ENCODINGS[name]


def check_size(what: str, width: int, height: int, pixel_bytes: int = 3) -> None:
    """Raise `DataError` unless a picture of that size is taken.

    Args:
        what: "image" or "compressed image", for the message.
        width: pixels.
        height: pixels.
        pixel_bytes: bytes a pixel of the largest array made on the way; at least 3, as RGB is what comes out.
    """
    if width <= 0 or height <= 0:
        raise DataError(f"{what}: expected at least one pixel, got {width}x{height}; check the camera driver")
    if max(width, height) > MAX_SIDE_PX or width * height * max(pixel_bytes, 3) > MAX_PICTURE_BYTES:
        raise DataError(
            f"{what}: expected at most {MAX_SIDE_PX} pixels a side and {MAX_PICTURE_BYTES >> 20} MiB decoded, got "
            f"{width}x{height} with {max(pixel_bytes, 3)} bytes a pixel; publish it smaller"
        )
