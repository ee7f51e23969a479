# SPDX-License-Identifier: Apache-2.0
"""Every encoding against values worked out in numpy, in every layout; and messages that lie."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace as Message
from typing import Any

import numpy as np
import pytest
from encoded_pictures import HEIGHT, WIDTH, Encoded, every_encoding
from tiny_bundle import picture as scene

from vl_anomaly_ros.decoding.encodings import ENCODINGS
from vl_anomaly_ros.decoding.images import decode_image
from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.overlay import draw_overlay
from vl_anomaly_ros.pipeline import Pipeline
from vl_anomaly_ros.types import Frame

PICTURES = every_encoding()


def message(picture: Encoded, *, big_endian: bool = False, padding: int = 0, **changes: Any) -> Message:
    rows = picture.rows(big_endian, padding)
    values = {
        "encoding": picture.encoding,
        "height": HEIGHT,
        "width": WIDTH,
        "step": len(rows[0]),
        "is_bigendian": int(big_endian),
        "data": np.frombuffer(b"".join(rows), np.uint8),
    }
    return Message(**{**values, **changes})


def rgb8(width: int = 2, height: int = 2, **changes: Any) -> Message:
    data = np.resize(np.arange(256, dtype=np.uint8), height * width * 3)
    values = {"encoding": "rgb8", "height": height, "width": width, "step": 3 * width, "is_bigendian": 0, "data": data}
    return Message(**{**values, **changes})


def test_every_encoding_is_compared() -> None:
    assert {picture.encoding for picture in PICTURES} == set(ENCODINGS)


@pytest.mark.parametrize("padding", [0, 1, 6])
@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.encoding)
def test_the_colours_are_those_of_the_formulas(picture: Encoded, padding: int) -> None:
    assert picture.difference(decode_image(message(picture, padding=padding))) <= picture.tolerance


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("picture", [p for p in PICTURES if p.numbers.itemsize > 1], ids=lambda p: p.encoding)
def test_big_endian_numbers_mean_the_same(picture: Encoded, padding: int) -> None:
    decoded = decode_image(message(picture, big_endian=True, padding=padding))
    assert picture.difference(decoded) <= picture.tolerance


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.encoding)
def test_data_need_neither_be_aligned_nor_padded_after_the_last_row(picture: Encoded) -> None:
    """A bag reader hands out slices of its file."""
    rows = picture.rows(padding=5)
    data = np.frombuffer(b"?" + b"".join(rows)[:-5], np.uint8)[1:]
    assert picture.difference(decode_image(message(picture, data=data, step=len(rows[0])))) <= picture.tolerance


def test_rgb8_is_a_view_that_cannot_be_written() -> None:
    source = rgb8()
    picture = decode_image(source)
    assert np.shares_memory(picture, source.data)
    assert not picture.flags.writeable
    assert source.data.flags.writeable


def test_padded_rgb8_is_copied_once_and_contiguous() -> None:
    rows = np.zeros((2, 8), np.uint8)
    rows[:, :6] = np.arange(12).reshape(2, 6)
    picture = decode_image(rgb8(step=8, data=rows.ravel()))
    assert picture.ravel().tolist() == list(range(12))
    assert picture.flags.c_contiguous


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "magic"}, "expected one of the encodings .*, got 'magic'"),
        ({"encoding": "nv24"}, "got 'nv24'; convert the topic"),
        ({"encoding": "x" * 1000}, r"got 'x{60}\.\.\.'"),
        ({"data": np.zeros(5, np.uint8)}, "step 6 and 5 bytes; the message is damaged"),
        ({"data": np.zeros(0, np.uint8)}, "and 0 bytes; the message is damaged"),
        ({"data": [1, 2, 3]}, "expected bytes, got list"),
        ({"step": 3}, "got step 3 and"),
        ({"step": 2**32 - 1}, "got step 4294967295 and"),
        ({"height": 0}, "at least one pixel, got 2x0"),
        ({"height": 16384, "width": 16384, "step": 49152}, "at most 16384 pixels a side and 256 MiB"),
        ({"width": 20000, "height": 1}, "got 20000x1"),
        ({"width": 3, "encoding": "yuv422", "step": 6}, "expected an even width for yuv422, got 3x2"),
        ({"height": 1, "encoding": "nv12"}, "expected an even width and height for nv12, got 2x1"),
    ],
)
def test_images_that_lie_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode_image(rgb8(**changes))


@pytest.mark.parametrize(
    ("value", "got"), [(np.nan, "nan to nan"), (2.5, "from 0 to 2.5"), (np.inf, "to inf"), (-0.5, "from -0.5 to 0")]
)
def test_a_depth_image_is_no_picture(value: float, got: str) -> None:
    metres = np.zeros((2, 2), np.float32)
    metres[1, 1] = value
    with pytest.raises(DataError, match=f"expected 32FC1 between 0 and 1, got .*{got}.*depth"):
        decode_image(rgb8(encoding="32FC1", step=8, data=metres.view(np.uint8).ravel()))


def test_a_little_beyond_the_range_is_clipped() -> None:
    grey = np.array([[-0.001, 0.5], [1.0, 1.001]], np.float32)
    decoded = decode_image(rgb8(encoding="32FC1", step=8, data=grey.view(np.uint8).ravel()))
    assert decoded[..., 0].tolist() == [[0, 128], [255, 255]]


def test_claims_are_not_allocated() -> None:
    claim = rgb8(encoding="mono16", width=9000, height=9000, step=18000, data=np.zeros(100, np.uint8))
    tracemalloc.start()
    with pytest.raises(DataError, match="damaged"):
        decode_image(claim)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 6), (6, 2)])
def test_a_mosaic_of_which_opencv_would_make_black_is_refused(width: int, height: int) -> None:
    with pytest.raises(DataError, match="at least 3x3 pixels for 'bayer_rggb8'"):
        decode_image(rgb8(encoding="bayer_rggb8", width=width, height=height, step=width))


def test_nothing_writes_into_the_picture_of_a_message(tiny_pipeline: Pipeline) -> None:
    """A view that cannot be written goes through the pipeline and the overlay as a copy does."""
    pixels = scene()
    message = rgb8(*pixels.shape[1::-1], data=np.frombuffer(pixels.tobytes(), np.uint8))
    view = decode_image(message)
    seen = [tiny_pipeline.process(Frame(5, "front", "optical", image, "base_link")) for image in (view, view.copy())]
    assert all(result.ok for result in seen)
    assert np.array_equal(seen[0].probability, seen[1].probability)
    assert np.array_equal(draw_overlay(seen[0]), draw_overlay(seen[1]))
    assert np.array_equal(view, pixels)
