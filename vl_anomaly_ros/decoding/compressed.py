# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CompressedImage to RGB. The file is read by hand up to its size before a decoder allocates for it."""

from __future__ import annotations

import zlib
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.decoding.encodings import BAYER, check_size
from vl_anomaly_ros.decoding.images import bytes_of_words, to_rgb
from vl_anomaly_ros.decoding.payload import payload, shown
from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.types import ByteArray

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 4, 6: 4}  # by colour type, as OpenCV stores them at most
_JPEG_END = b"\xff\xd9"
_JPEG_TAIL = 1024  # drivers pad the end of the buffer
_NO_SIZE = {0xC4, 0xC8, 0xCC}  # among the markers C0 to CF: tables, not a frame with a size


def decode_compressed(message: Any) -> ByteArray:
    """The picture of a sensor_msgs/CompressedImage (JPEG or PNG, 8 or 16 bits, grey, colour, alpha) as (H, W, 3) RGB.

    The file says what it is; `format` is only read for two things: compressedDepth is refused, and a grey picture of
    which `format` says that it was a Bayer mosaic is demosaiced. A turn by EXIF is not followed, because the
    calibration is that of the unturned picture.

    Raises:
        DataError: no JPEG or PNG, a size that is not taken, or a file that is cut short or damaged. Damage within
            the compressed data of a JPEG cannot always be seen: the format has no checksum.
    """
    if "compresseddepth" in message.format.lower():
        raise DataError(
            f"compressed image: expected a JPEG or PNG picture, got format {shown(message.format)}, a depth image; "
            "remap the topic of the camera"
        )
    data = payload("compressed image", message.data)
    head = data[:8].tobytes()
    if head == _PNG:
        _check_png(data, message.format)
    elif head.startswith(_JPEG):
        _check_jpeg(data, message.format)
    else:
        raise DataError(
            f"compressed image: expected a JPEG or PNG picture, got {len(data)} bytes of format "
            f"{shown(message.format)} that begin with {head.hex(' ') or 'nothing'}; the message is damaged"
        )
    try:
        picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        picture = None
    if picture is None:
        raise _damaged(data, message.format, "cannot be decoded")
    picture = bytes_of_words(cast("npt.NDArray[np.uint16]", picture)) if picture.dtype == np.uint16 else picture
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    code = _mosaic(message.format) if channels == 1 else None
    if code is None:
        code = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    return to_rgb(cast("ByteArray", picture), code, message.format)


def _mosaic(image_format: str) -> int | None:
    """OpenCV's code where a grey file holds a Bayer mosaic: "bayer_rggb8; png compressed ", nothing after it.

    What image_transport converted first it names behind "compressed", such as "bgr8" or "mono8".
    """
    source, _, how = image_format.partition(";")
    kind, _, pattern = source.strip().rstrip("0123456789").partition("_")
    converted = how.partition("compressed")[2].strip()
    return BAYER.get(pattern) if kind == "bayer" and converted in ("", source.strip()) else None


def _damaged(data: ByteArray, image_format: str, what: str) -> DataError:
    return DataError(
        f"compressed image: expected a whole JPEG or PNG picture, got {len(data)} bytes of format "
        f"{shown(image_format)} that {what}; the message is damaged"
    )


def _check_png(data: ByteArray, image_format: str) -> None:
    """Raise `DataError` unless all chunks are whole, by their checksums, and the size is one that is taken."""
    raw = data.data
    at, end = len(_PNG), False
    while not end:
        if at + 12 > len(raw):
            raise _damaged(data, image_format, "stop before the end of the picture")
        length, kind = int.from_bytes(raw[at : at + 4], "big"), bytes(raw[at + 4 : at + 8])
        stop = at + 8 + length
        if stop + 4 > len(raw):
            raise _damaged(data, image_format, "stop before the end of the picture")
        if at == len(_PNG):
            if kind != b"IHDR" or length != 13:
                raise _damaged(data, image_format, "do not tell the size of the picture")
            width, height = (int.from_bytes(raw[at + k : at + k + 4], "big") for k in (8, 12))
            bits, colour = raw[at + 16], raw[at + 17]
            check_size("compressed image", width, height, _PNG_CHANNELS.get(colour, 4) * (2 if bits == 16 else 1))
        if zlib.crc32(raw[at + 4 : stop]) != int.from_bytes(raw[stop : stop + 4], "big"):
            raise _damaged(data, image_format, "do not fit their checksums")
        at, end = stop + 4, kind == b"IEND"


def _check_jpeg(data: ByteArray, image_format: str) -> None:
    """Raise `DataError` unless the file has an end and a size that is taken.

    Without its end OpenCV would fill the rest with grey, which holds no anomaly.
    """
    if _JPEG_END not in data[-_JPEG_TAIL:].tobytes():
        raise _damaged(data, image_format, "stop before the end of the picture")
    raw = data.data
    at = 2
    while at + 9 <= len(raw) and raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_SIZE:
            height, width = (int.from_bytes(raw[at + k : at + k + 2], "big") for k in (5, 7))
            check_size("compressed image", width, height)
            return
        else:
            at += 2 + int.from_bytes(raw[at + 2 : at + 4], "big")
    raise _damaged(data, image_format, "do not tell the size of the picture")
