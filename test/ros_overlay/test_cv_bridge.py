# SPDX-License-Identifier: Apache-2.0
"""The bridge between image messages and arrays; holds for the standard package too."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: start the tests by ./run test")
cv2 = pytest.importorskip("cv2")

from cv_bridge import CvBridge, CvBridgeError  # noqa: E402
from encoded_pictures import HEIGHT, WIDTH, Encoded, every_encoding  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from vl_anomaly_ros.decoding.images import decode_image  # noqa: E402

RNG = np.random.default_rng(7)


def image_message(pixels: np.ndarray[Any, Any], encoding: str, *, padding: int = 0, big_endian: bool = False) -> Image:
    """Return a message written by hand: numbers in the byte order given, rows followed by padding bytes of 0xEE."""
    ordered = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<"))
    rows = [row.tobytes() + b"\xee" * padding for row in ordered]
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=len(rows[0]))
    message.is_bigendian = int(big_endian)
    message.data = array.array("B", b"".join(rows))
    return message


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(
    ("encoding", "dtype", "channels"),
    [
        ("rgb8", np.uint8, 3),
        ("bgr8", np.uint8, 3),
        ("rgba8", np.uint8, 4),
        ("bgra8", np.uint8, 4),
        ("mono8", np.uint8, 1),
        ("mono16", np.uint16, 1),
        ("8UC1", np.uint8, 1),
        ("8UC3", np.uint8, 3),
        ("16UC1", np.uint16, 1),
        ("16SC2", np.int16, 2),
        ("32FC1", np.float32, 1),
        ("64FC4", np.float64, 4),
        ("bayer_rggb8", np.uint8, 1),
        ("yuv422", np.uint8, 2),
    ],
)
def test_passthrough_returns_the_pixels_as_sent(encoding: str, dtype: type, channels: int, padding: int) -> None:
    shape = (4, 6) if channels == 1 else (4, 6, channels)
    pixels: np.ndarray[Any, Any] = RNG.integers(0, 100, shape).astype(dtype)
    received = CvBridge().imgmsg_to_cv2(image_message(pixels, encoding, padding=padding))
    assert received.dtype == dtype
    np.testing.assert_array_equal(received, pixels)


@pytest.mark.parametrize(("encoding", "dtype"), [("16UC1", np.uint16), ("mono16", np.uint16), ("32FC1", np.float32)])
@pytest.mark.parametrize("padding", [0, 4])
def test_big_endian_numbers_arrive_in_native_order(encoding: str, dtype: type, padding: int) -> None:
    pixels: np.ndarray[Any, Any] = np.array([[1, 258, 1000], [2, 3, 60000]], dtype)
    received = CvBridge().imgmsg_to_cv2(image_message(pixels, encoding, padding=padding, big_endian=True))
    assert received.dtype.isnative
    np.testing.assert_array_equal(received, pixels)


def test_passthrough_of_a_plain_image_copies_nothing() -> None:
    message = image_message(np.zeros((2, 3, 3), np.uint8), "rgb8")
    received = CvBridge().imgmsg_to_cv2(message)
    message.data[4] = 77
    assert received[0, 1, 1] == 77


@pytest.mark.parametrize(
    ("source", "pixel", "target", "expected"),
    [
        ("rgb8", (10, 20, 30), "bgr8", (30, 20, 10)),
        ("bgr8", (10, 20, 30), "rgba8", (30, 20, 10, 255)),
        ("bgra8", (10, 20, 30, 40), "rgb8", (30, 20, 10)),
        ("rgba8", (10, 20, 30, 40), "bgra8", (30, 20, 10, 40)),
        ("mono8", (9,), "rgb8", (9, 9, 9)),
        ("rgb8", (100, 100, 100), "mono8", (100,)),
        # 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2
        ("rgb8", (200, 100, 50), "mono8", (124,)),
        ("bgr8", (50, 100, 200), "mono8", (124,)),
        # yuv422 is U Y V Y: neutral chroma and luma 235 are white
        ("yuv422", (128, 235), "rgb8", (255, 255, 255)),
        ("yuv422_yuy2", (235, 128), "bgr8", (255, 255, 255)),
        ("yuv422", (128, 126), "mono8", (126,)),
    ],
)
def test_colours_are_converted(source: str, pixel: tuple[int, ...], target: str, expected: tuple[int, ...]) -> None:
    pixels = np.tile(np.array(pixel, np.uint8), (4, 4, 1))
    converted = CvBridge().imgmsg_to_cv2(image_message(pixels.squeeze(), source), target)
    np.testing.assert_array_equal(converted.reshape(4, 4, -1), np.tile(np.array(expected, np.uint8), (4, 4, 1)))


@pytest.mark.parametrize("target", ["rgb8", "bgr8", "rgba8", "mono8"])
def test_yuv_chroma_belongs_to_the_right_channel(target: str) -> None:
    """U Y V Y with a high V is red in both orders: BT.601 gives R = 1.164 * (81 - 16) + 1.596 * (240 - 128) = 254."""
    pixels = np.tile(np.array([[90, 81], [240, 81]], np.uint8), (2, 2, 1))
    image = CvBridge().imgmsg_to_cv2(image_message(pixels, "yuv422"), target).astype(int)
    if target == "mono8":
        assert image[0, 0] == 81
        return
    red, blue = (2, 0) if target == "bgr8" else (0, 2)
    assert image[0, 0, red] > 240
    assert image[0, 0, 1] < 15
    assert image[0, 0, blue] < 15


@pytest.mark.parametrize(
    ("pattern", "red_at", "blue_at"),
    [("rggb", (0, 0), (1, 1)), ("bggr", (1, 1), (0, 0)), ("gbrg", (1, 0), (0, 1)), ("grbg", (0, 1), (1, 0))],
)
@pytest.mark.parametrize("target", ["rgb8", "bgr8", "bgra8"])
def test_bayer_patterns_are_named_by_their_first_row(
    pattern: str, red_at: tuple[int, int], blue_at: tuple[int, int], target: str
) -> None:
    """A sensor that sees a purely red scene has light at its red cells alone; so with blue."""
    red_channel, blue_channel = (0, 2) if target == "rgb8" else (2, 0)
    for cell, channel in ((red_at, red_channel), (blue_at, blue_channel)):
        mosaic = np.zeros((8, 8), np.uint8)
        mosaic[cell[0] :: 2, cell[1] :: 2] = 200
        image = CvBridge().imgmsg_to_cv2(image_message(mosaic, f"bayer_{pattern}8"), target)
        inner = image[2:-2, 2:-2].reshape(-1, image.shape[2]).mean(axis=0)
        assert inner[channel] > 150
        assert max(inner[other] for other in range(3) if other != channel) < 20


def test_colour_depths_scale_to_the_full_range() -> None:
    wide = np.array([[0, 257, 65535, 128, 129]], np.uint16)
    narrow = CvBridge().imgmsg_to_cv2(image_message(wide, "mono16"), "mono8")
    np.testing.assert_array_equal(narrow, [[0, 1, 255, 0, 1]])
    back = CvBridge().imgmsg_to_cv2(image_message(np.array([[0, 1, 255]], np.uint8), "mono8"), "mono16")
    np.testing.assert_array_equal(back, [[0, 257, 65535]])


def test_depth_images_change_their_number_type_only() -> None:
    """Millimetres in 16UC1 stay millimetres in 32FC1."""
    metres = CvBridge().imgmsg_to_cv2(image_message(np.array([[0, 1500, 65535]], np.uint16), "16UC1"), "32FC1")
    assert metres.dtype == np.float32
    np.testing.assert_array_equal(metres, [[0, 1500, 65535]])


@pytest.mark.parametrize(
    ("source", "channels", "target"),
    [
        ("16UC1", 1, "mono8"),
        ("8UC3", 3, "bgr8"),
        ("8UC3", 3, "8UC1"),
        ("nonsense", 1, "mono8"),
        ("mono8", 1, "nonsense"),
    ],
)
def test_senseless_conversions_are_refused(source: str, channels: int, target: str) -> None:
    dtype = np.uint16 if source == "16UC1" else np.uint8
    pixels = np.zeros((2, 2) if channels == 1 else (2, 2, channels), dtype)
    with pytest.raises((CvBridgeError, ValueError)):
        CvBridge().imgmsg_to_cv2(image_message(pixels, source), target)


def test_too_few_bytes_are_refused() -> None:
    message = image_message(np.zeros((4, 4, 3), np.uint8), "rgb8")
    message.data = message.data[:-1]
    with pytest.raises(TypeError):
        CvBridge().imgmsg_to_cv2(message)


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels"),
    [("rgb8", np.uint8, 3), ("mono8", np.uint8, 1), ("16UC1", np.uint16, 1), ("32FC1", np.float32, 1)],
)
def test_arrays_become_messages_and_come_back(encoding: str, dtype: type, channels: int) -> None:
    pixels: np.ndarray[Any, Any] = RNG.integers(0, 200, (3, 5) if channels == 1 else (3, 5, channels)).astype(dtype)
    header = Header(frame_id="camera")
    message = CvBridge().cv2_to_imgmsg(pixels, encoding, header)
    assert (message.height, message.width, message.encoding) == (3, 5, encoding)
    assert message.step == 5 * channels * np.dtype(dtype).itemsize
    assert message.header.frame_id == "camera"
    assert message.is_bigendian == 0
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message), pixels)


def test_a_view_with_gaps_is_sent_whole() -> None:
    pixels = RNG.integers(0, 255, (6, 8, 3)).astype(np.uint8)[::2, 1:5]
    message = CvBridge().cv2_to_imgmsg(pixels, "bgr8")
    assert message.step == 12
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message), pixels)


def test_a_big_endian_array_survives_the_round_trip() -> None:
    pixels = np.array([[1, 258], [65535, 3]], ">u2")
    message = CvBridge().cv2_to_imgmsg(pixels)
    assert message.is_bigendian == 1
    assert message.encoding == "16UC1"
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message), [[1, 258], [65535, 3]])


def test_an_encoding_that_does_not_fit_the_array_is_refused() -> None:
    with pytest.raises(CvBridgeError):
        CvBridge().cv2_to_imgmsg(np.zeros((2, 2), np.uint8), "bgr8")
    with pytest.raises(TypeError):
        CvBridge().cv2_to_imgmsg([[1, 2]], "mono8")


def test_png_keeps_every_pixel() -> None:
    pixels = RNG.integers(0, 255, (8, 9, 3)).astype(np.uint8)
    message = CvBridge().cv2_to_compressed_imgmsg(pixels, "png")
    assert message.format == "png"
    assert bytes(message.data[:4]) == b"\x89PNG"
    np.testing.assert_array_equal(CvBridge().compressed_imgmsg_to_cv2(message), pixels)
    np.testing.assert_array_equal(CvBridge().compressed_imgmsg_to_cv2(message, "rgb8"), pixels[..., ::-1])


def test_grey_and_jpeg_pictures_are_decoded() -> None:
    grey = np.full((8, 8), 90, np.uint8)
    png = CvBridge().cv2_to_compressed_imgmsg(grey, "png")
    np.testing.assert_array_equal(CvBridge().compressed_imgmsg_to_cv2(png), grey)
    np.testing.assert_array_equal(CvBridge().compressed_imgmsg_to_cv2(png, "bgr8"), np.dstack([grey] * 3))
    jpeg = CvBridge().cv2_to_compressed_imgmsg(np.dstack([grey] * 3))
    assert np.abs(CvBridge().compressed_imgmsg_to_cv2(jpeg).astype(int) - 90).max() <= 2


def test_bytes_that_are_no_picture_are_refused() -> None:
    for data in (b"", b"not a picture"):
        with pytest.raises(TypeError):
            CvBridge().compressed_imgmsg_to_cv2(CompressedImage(format="jpeg", data=array.array("B", data)))


WITHOUT_COLOUR = ("8UC1", "8UC3", "8UC4", "16UC1", "32FC1")
"""OpenCV types: the bridge gives their numbers, but does not take them for colours."""


def encoded_message(picture: Encoded, big_endian: bool, padding: int) -> Image:
    rows = picture.rows(big_endian, padding)
    message = Image(height=HEIGHT, width=WIDTH, encoding=picture.encoding, step=len(rows[0]))
    message.is_bigendian = int(big_endian)
    message.data = array.array("B", b"".join(rows))
    return message


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("picture", every_encoding(), ids=lambda picture: picture.encoding)
def test_every_encoding_is_what_the_formulas_say(picture: Encoded, big_endian: bool, padding: int) -> None:
    """The same messages and the same reference for the bridge and for the decoder of the node."""
    message = encoded_message(picture, big_endian, padding)
    assert picture.difference(decode_image(message)) <= picture.tolerance
    if picture.encoding in WITHOUT_COLOUR:
        np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message), picture.numbers)
        return
    assert picture.difference(CvBridge().imgmsg_to_cv2(message, "rgb8")) <= picture.tolerance


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_planes_of_an_odd_height_are_refused(encoding: str) -> None:
    message = image_message(np.zeros((9, 4), np.uint8), encoding)
    message.height = 5
    with pytest.raises(CvBridgeError, match="even height"):
        CvBridge().imgmsg_to_cv2(message)
