# SPDX-License-Identifier: Apache-2.0
"""The bridge between sensor_msgs images and OpenCV arrays."""

from __future__ import annotations

import array
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from cv_bridge.encodings import CvBridgeError, Encoding, convert, parse_encoding, plain_name

__all__ = ["CvBridge", "CvBridgeError"]


class CvBridge:
    """Converts between sensor_msgs/Image, sensor_msgs/CompressedImage and numpy arrays as OpenCV uses them."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> np.ndarray[Any, Any]:
        """Return the pixels of `img_msg`, (H, W) or (H, W, C), in native byte order.

        The array is a view of the message's data where no conversion, padding or byte order forbids it. As stored,
        nv12 and nv21 have 3/2 H rows: the colours follow the brightness.

        Args:
            img_msg: the message; rows may be padded and numbers big-endian.
            desired_encoding: an encoding to convert to, or "passthrough".

        Raises:
            CvBridgeError: the encoding is unknown, the data are too short, or no conversion exists.
        """
        source = parse_encoding(img_msg.encoding)
        image = _pixels(img_msg, source)
        return image if desired_encoding == "passthrough" else convert(image, source, parse_encoding(desired_encoding))

    def cv2_to_imgmsg(
        self, cvim: np.ndarray[Any, Any], encoding: str = "passthrough", header: Header | None = None
    ) -> Image:
        """Return a message with a copy of `cvim`, (H, W) or (H, W, C).

        Args:
            cvim: the pixels.
            encoding: what they mean; it must fit their dtype and channels. "passthrough" names dtype and channels
                only, such as 8UC3.
            header: of the message, where given.

        Raises:
            CvBridgeError: dtype or channels do not fit the encoding.
        """
        if not isinstance(cvim, np.ndarray):
            raise TypeError(f"cvim: expected a numpy array, got {type(cvim).__name__}")
        if cvim.ndim not in (2, 3) or cvim.size == 0:
            raise CvBridgeError(f"cvim: expected (height, width) or (height, width, channels), got {cvim.shape}")
        channels = 1 if cvim.ndim == 2 else cvim.shape[2]
        name = plain_name(cvim.dtype, channels)
        if encoding != "passthrough":
            wanted = parse_encoding(encoding)
            if name != plain_name(wanted.dtype, wanted.channels):
                raise CvBridgeError(f"encoding: {encoding} does not fit an image of {name}")
            name = encoding
        message = Image()
        if header is not None:
            message.header = header
        message.height, message.width = cvim.shape[:2]
        message.encoding = name
        message.is_bigendian = int(cvim.dtype.itemsize > 1 and cvim.dtype == cvim.dtype.newbyteorder(">"))
        message.step = cvim.shape[1] * channels * cvim.dtype.itemsize
        message.data = _byte_array(cvim)
        return message

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough"
    ) -> np.ndarray[Any, Any]:
        """Return the decoded pixels: as stored for "passthrough" (colour as BGR), else converted.

        Raises:
            CvBridgeError: the bytes are no picture that OpenCV reads, or no conversion exists.
        """
        data = np.frombuffer(cmprs_img_msg.data, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if image is None:
            raise CvBridgeError(f"compressed image: OpenCV cannot decode {data.size} bytes of {cmprs_img_msg.format!r}")
        if desired_encoding == "passthrough":
            return image
        names = {1: "mono", 3: "bgr", 4: "bgra"}
        name = f"{names[1 if image.ndim == 2 else image.shape[2]]}{image.dtype.itemsize * 8}"
        return convert(image, parse_encoding(name), parse_encoding(desired_encoding))

    def cv2_to_compressed_imgmsg(self, cvim: np.ndarray[Any, Any], dst_format: str = "jpg") -> CompressedImage:
        """Return `cvim` (grey or BGR) compressed by OpenCV to `dst_format`, such as "jpg" or "png"."""
        if not isinstance(cvim, np.ndarray):
            raise TypeError(f"cvim: expected a numpy array, got {type(cvim).__name__}")
        try:
            done, data = cv2.imencode(f".{dst_format}", cvim)
        except cv2.error as error:
            raise CvBridgeError(f"OpenCV cannot write {cvim.shape} {cvim.dtype} as {dst_format!r}: {error}") from error
        if not done:
            raise CvBridgeError(f"OpenCV cannot write {cvim.shape} {cvim.dtype} as {dst_format!r}")
        message = CompressedImage()
        message.format = dst_format
        message.data = _byte_array(data)
        return message


def _pixels(message: Image, source: Encoding) -> np.ndarray[Any, Any]:
    """Return the pixels as stored, rows unpadded, in native byte order."""
    pixel_bytes = source.dtype.itemsize * source.channels
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0 or step < width * pixel_bytes:
        raise CvBridgeError(
            f"image: expected a size above 0 and a step of at least {width * pixel_bytes} bytes for {width} pixels of "
            f"{source.name}, got {width}x{height} with step {step}"
        )
    data = memoryview(message.data).cast("B")
    rows, odd = divmod(height * source.rows[0], source.rows[1])
    if odd:
        raise CvBridgeError(f"image: expected an even height for {source.name}, got {height}")
    needed = step * (rows - 1) + width * pixel_bytes
    if len(data) < needed:
        raise CvBridgeError(f"image: expected {needed} bytes for {width}x{height} {source.name}, got {len(data)}")
    stored = source.dtype.newbyteorder(">" if message.is_bigendian else "<")
    image: np.ndarray[Any, Any] = np.ndarray(
        (rows, width, source.channels), stored, data, strides=(step, pixel_bytes, source.dtype.itemsize)
    )
    if source.channels == 1:
        image = image[..., 0]
    return image.astype(source.dtype, copy=False)


def _byte_array(pixels: np.ndarray[Any, Any]) -> array.array[int]:
    """Return the bytes as the one type that every rclpy assigns to a message without checking element by element."""
    data = array.array("B")
    data.frombytes(memoryview(np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)))
    return data
