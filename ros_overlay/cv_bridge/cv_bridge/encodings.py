# SPDX-License-Identifier: Apache-2.0
"""What a sensor_msgs/Image encoding says, and how pixels go from one encoding to another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np


class CvBridgeError(TypeError):
    """An image cannot be converted: its message is malformed, or the two encodings do not fit."""


@dataclass(frozen=True)
class Encoding:
    """One encoding.

    Attributes:
        name: as in the message.
        dtype: of one channel, native byte order.
        channels: per pixel, as stored in the message.
        colour: "GRAY", "RGB", "BGR", "RGBA", "BGRA", a Bayer or YUV pattern in OpenCV's naming, or "" where the
            numbers have no colour meaning (such as depth in 16UC1).
        rows: rows stored for so many rows of the picture: 3 for 2 where the colours follow the brightness (4:2:0).
    """

    name: str
    dtype: np.dtype[Any]
    channels: int
    colour: str = ""
    rows: tuple[int, int] = (1, 1)

    @property
    def is_plain_colour(self) -> bool:
        """Whether the pixels are grey or red, green and blue, one full set per pixel."""
        return self.colour in ("GRAY", "RGB", "BGR", "RGBA", "BGRA")


_U8, _U16 = np.dtype(np.uint8), np.dtype(np.uint16)
_DTYPES: dict[str, np.dtype[Any]] = {
    "8U": _U8,
    "8S": np.dtype(np.int8),
    "16U": _U16,
    "16S": np.dtype(np.int16),
    "32S": np.dtype(np.int32),
    "32F": np.dtype(np.float32),
    "64F": np.dtype(np.float64),
}
_PLAIN = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)C(\d+)")
# ROS names a Bayer pattern by its first row of two, OpenCV by the second and third pixel of its second row.
_BAYER = {"rggb": "BayerBG", "bggr": "BayerRG", "gbrg": "BayerGR", "grbg": "BayerGB"}
_NAMED = {
    "mono8": Encoding("mono8", _U8, 1, "GRAY"),
    "mono16": Encoding("mono16", _U16, 1, "GRAY"),
    "yuv422": Encoding("yuv422", _U8, 2, "UYVY"),
    "uyvy": Encoding("uyvy", _U8, 2, "UYVY"),
    "yuv422_yuy2": Encoding("yuv422_yuy2", _U8, 2, "YUY2"),
    "yuyv": Encoding("yuyv", _U8, 2, "YUY2"),
    "nv12": Encoding("nv12", _U8, 1, "NV12", rows=(3, 2)),
    "nv21": Encoding("nv21", _U8, 1, "NV21", rows=(3, 2)),
}
for _order in ("rgb", "bgr", "rgba", "bgra"):
    _NAMED[f"{_order}8"] = Encoding(f"{_order}8", _U8, len(_order), _order.upper())
    _NAMED[f"{_order}16"] = Encoding(f"{_order}16", _U16, len(_order), _order.upper())
for _pattern, _code in _BAYER.items():
    _NAMED[f"bayer_{_pattern}8"] = Encoding(f"bayer_{_pattern}8", _U8, 1, _code)
    _NAMED[f"bayer_{_pattern}16"] = Encoding(f"bayer_{_pattern}16", _U16, 1, _code)


def parse_encoding(name: str) -> Encoding:
    """Return what the encoding `name` stands for; raise `CvBridgeError` for an unknown one."""
    if name in _NAMED:
        return _NAMED[name]
    plain = _PLAIN.fullmatch(name)
    if plain is None or int(plain[2]) == 0:
        known = ", ".join(sorted(_NAMED))
        raise CvBridgeError(f"encoding: expected one of {known} or such as 8UC3 and 32FC1, got {name!r}")
    return Encoding(name, _DTYPES[plain[1]], int(plain[2]))


def plain_name(dtype: np.dtype[Any], channels: int) -> str:
    """Return the encoding without colour meaning for arrays of that dtype, such as "8UC3"."""
    for prefix, known in _DTYPES.items():
        if dtype.newbyteorder("=") == known:
            return f"{prefix}C{channels}"
    raise CvBridgeError(f"image: expected one of {', '.join(map(str, _DTYPES.values()))}, got {dtype}")


def convert(image: np.ndarray[Any, Any], source: Encoding, target: Encoding) -> np.ndarray[Any, Any]:
    """Return `image` in the `target` encoding, as a new array where anything changes.

    Colours are reordered, demosaiced or reduced to grey; 8 and 16 bits are scaled to each other's full range. Images
    without colour meaning only change their number type, and only between equal channel counts.
    """
    if source.name == target.name:
        return image
    if source.colour and target.colour:
        return _change_depth(_change_colour(image, source, target), target)
    if target.colour and not source.colour:
        raise CvBridgeError(
            f"{source.name} has no colour meaning, so it cannot become {target.name}; ask for 'passthrough'"
        )
    if source.channels != target.channels:
        raise CvBridgeError(
            f"{source.name} has {source.channels} channels and {target.name} {target.channels}: no conversion"
        )
    return _change_depth(image, target)


def _change_colour(image: np.ndarray[Any, Any], source: Encoding, target: Encoding) -> np.ndarray[Any, Any]:
    if source.colour == target.colour:
        return image
    if not target.is_plain_colour:
        raise CvBridgeError(f"no conversion from {source.name} to {target.name}")
    if source.is_plain_colour:
        return _cv_convert(image, f"COLOR_{source.colour}2{target.colour}")
    if source.colour in ("UYVY", "YUY2", "NV12", "NV21"):
        return _cv_convert(image, f"COLOR_YUV2{target.colour}_{source.colour}")
    without_alpha = target.colour.removesuffix("A")
    image = _cv_convert(image, f"COLOR_{source.colour}2{without_alpha}")
    return image if without_alpha == target.colour else _cv_convert(image, f"COLOR_{without_alpha}2{target.colour}")


def _cv_convert(image: np.ndarray[Any, Any], code: str) -> np.ndarray[Any, Any]:
    try:
        converted: np.ndarray[Any, Any] = cv2.cvtColor(image, getattr(cv2, code))
    except cv2.error as error:
        raise CvBridgeError(f"OpenCV refused {code} for {image.shape} {image.dtype}: {error}") from error
    return converted


def _change_depth(image: np.ndarray[Any, Any], target: Encoding) -> np.ndarray[Any, Any]:
    if image.dtype == target.dtype:
        return image
    if image.dtype == _U8 and target.dtype == _U16:
        return image.astype(_U16) * np.uint16(257)
    if image.dtype == _U16 and target.dtype == _U8:
        return ((image.astype(np.uint32) + 128) // 257).astype(_U8)
    if target.dtype.kind in "iu":
        limits = np.iinfo(target.dtype)
        low, high = limits.min, limits.max
        rounded = np.nan_to_num(np.rint(image.astype(np.float64)), nan=0.0, posinf=high, neginf=low)
        image = np.clip(rounded, low, high)
    changed: np.ndarray[Any, Any] = image.astype(target.dtype)
    return changed
