# SPDX-License-Identifier: Apache-2.0
"""JPEG and PNG of every kind that cameras send, damaged ones, and ones that would fill the memory."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from types import SimpleNamespace as Message
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from encoded_pictures import every_encoding

from vl_anomaly_ros.decoding.compressed import decode_compressed
from vl_anomaly_ros.errors import DataError

PICTURES = {picture.encoding: picture for picture in every_encoding()}


def png(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    done, data = cv2.imencode(".png", pixels)
    assert done
    return data


def jpeg(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 98])
    assert done
    return data


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_size(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def read(data: Any, name: str = "jpeg") -> npt.NDArray[np.uint8]:
    return decode_compressed(Message(data=np.frombuffer(bytes(data), np.uint8), format=name))


@pytest.mark.parametrize("encoding", ["bgr8", "bgra8", "mono8", "bgr16", "bgra16", "mono16"])
def test_png_of_every_depth_and_channel_count(encoding: str) -> None:
    picture = PICTURES[encoding]  # OpenCV writes blue first into the right place of the file
    assert picture.difference(read(png(picture.numbers), f"{encoding}; png compressed")) <= picture.tolerance


@pytest.mark.parametrize("image_format", ["jpeg", "rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8", ""])
def test_the_colours_are_those_of_the_file_whatever_the_format_says(image_format: str) -> None:
    """compressed_image_transport swaps the colours of formats without "compressed bgr"; the file knows better."""
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 2] = 200  # OpenCV writes blue first
    for data in (jpeg(red), png(red)):
        assert np.abs(read(data, image_format)[8, 8].astype(int) - [200, 0, 0]).max() <= 3


def test_grey_jpeg() -> None:
    assert np.abs(read(jpeg(np.full((16, 16), 90, np.uint8))).astype(int) - 90).max() <= 2


@pytest.mark.parametrize("encoding", ["bayer_rggb8", "bayer_gbrg16"])
def test_a_mosaic_in_a_png_is_demosaiced(encoding: str) -> None:
    """image_transport leaves a mosaic as it is: the format is then "bayer_rggb8; png compressed "."""
    picture = PICTURES[encoding]
    assert picture.difference(read(png(picture.numbers), f"{encoding}; png compressed ")) <= picture.tolerance
    grey = read(png(picture.numbers), f"{encoding}; png compressed mono8")
    assert (grey[..., 0] == grey[..., 2]).all()


def test_the_picture_is_not_turned() -> None:
    """A turn in the EXIF data is for viewers: the calibration is that of the sensor."""
    data = bytes(jpeg(np.zeros((16, 32, 3), np.uint8)))
    tiff = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 2) + tiff + data[2:]
    assert read(turned).shape == (16, 32, 3)


NOISE = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)


@pytest.mark.parametrize("whole", [bytes(png(NOISE)), bytes(jpeg(NOISE))], ids=["png", "jpeg"])
@pytest.mark.parametrize("part", [0, 3, 9, 30, 600, -1])
def test_what_is_left_of_a_picture_is_refused(whole: bytes, part: int) -> None:
    """A decoder would fill the rest with grey, in which there is nothing to find."""
    with pytest.raises(DataError, match="the message is damaged"):
        read(whole[:part] if part >= 0 else whole[: len(whole) // 2])


def test_a_flipped_bit_in_a_png_is_seen() -> None:
    data = bytearray(png(NOISE))
    data[len(data) // 2] ^= 4
    with pytest.raises(DataError, match="do not fit their checksums"):
        read(data)


@pytest.mark.parametrize(
    ("data", "image_format", "words"),
    [
        (b"", "jpeg", "0 bytes of format 'jpeg' that begin with nothing"),
        (b"RIFF1234WEBP", "webp", "expected a JPEG or PNG picture, got 12 bytes of format 'webp'"),
        (b"\x89PNG\r\n\x1a\n", "png", "stop before the end"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""), "png", "do not tell the size"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"")[:-1] + b"\x0d", "png", "do not tell the size"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\0", "png", "stop before the end"),
        (b"\xff\xd8\xff\xd9", "jpeg", "do not tell the size"),
        (b"\xff\xd8\xff\xe0\xff\xff\xff\xd9", "jpeg", "do not tell the size"),
        (png_of_size(4, 4, colour=7), "png", "cannot be decoded"),
        (b"1", "16UC1; compressedDepth png", "compressedDepth png', a depth image"),
    ],
)
def test_no_picture(data: bytes, image_format: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(data, image_format)


def sized_jpeg(width: int, height: int) -> bytes:
    data = bytearray(jpeg(NOISE))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    "bomb",
    [png_of_size(16384, 16384), png_of_size(8000, 8000, 16, 6), png_of_size(2**31 - 1, 1), sized_jpeg(65535, 65535)],
)
def test_a_small_file_cannot_ask_for_all_memory(bomb: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(DataError, match="at most 16384 pixels a side and 256 MiB"):
        read(bomb)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
