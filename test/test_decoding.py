# SPDX-License-Identifier: Apache-2.0
"""Sensor messages to arrays: every encoding and layout against values worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace as Message
from typing import Any

import cv2
import numpy as np
import pytest

from vl_anomaly_ros.decoding import decode_calibration, decode_cloud, decode_compressed, decode_image
from vl_anomaly_ros.errors import DataError

STAMP = Message(stamp=Message(sec=2, nanosec=5), frame_id="lidar")


def image(encoding: str, rows: Any, width: int, **changes: Any) -> Message:
    rows = np.asarray(rows)
    data = rows.reshape(len(rows), -1)
    flat = np.ascontiguousarray(data).view(np.uint8)
    values = {"step": flat.shape[1], "is_bigendian": 0, "data": flat.ravel()}
    return Message(encoding=encoding, height=len(rows), width=width, **{**values, **changes})


@pytest.mark.parametrize(
    ("encoding", "pixel", "rgb"),
    [
        ("rgb8", [10, 20, 30], [10, 20, 30]),
        ("bgr8", [10, 20, 30], [30, 20, 10]),
        ("8UC3", [10, 20, 30], [30, 20, 10]),
        ("rgba8", [10, 20, 30, 99], [10, 20, 30]),
        ("bgra8", [10, 20, 30, 99], [30, 20, 10]),
        ("mono8", [42], [42, 42, 42]),
        ("8UC1", [42], [42, 42, 42]),
    ],
)
def test_colour_orders(encoding: str, pixel: list[int], rgb: list[int]) -> None:
    rows = np.tile(np.array(pixel, np.uint8), (2, 3, 1))
    assert decode_image(image(encoding, rows, 3)).tolist() == [[rgb] * 3] * 2


@pytest.mark.parametrize(("big", "order"), [(0, "<u2"), (1, ">u2")])
def test_sixteen_bits_are_scaled_in_either_byte_order(big: int, order: str) -> None:
    rows = np.array([[0, 257, 65535]], order)  # 257 = 65535 / 255
    assert decode_image(image("mono16", rows, 3, is_bigendian=big))[0, :, 0].tolist() == [0, 1, 255]


def test_row_padding_is_skipped() -> None:
    rows = np.zeros((2, 8), np.uint8)
    rows[:, :6] = np.arange(12).reshape(2, 6)
    rows[:, 6:] = 200
    assert decode_image(image("rgb8", rows, 2)).ravel().tolist() == list(range(12))


@pytest.mark.parametrize(
    ("encoding", "red_at"),
    [("bayer_rggb8", (0, 0)), ("bayer_grbg8", (0, 1)), ("bayer_gbrg8", (1, 0)), ("bayer_bggr8", (1, 1))],
)
def test_bayer_patterns_put_red_where_the_name_says(encoding: str, red_at: tuple[int, int]) -> None:
    mosaic = np.zeros((8, 8), np.uint8)
    mosaic[red_at[0] :: 2, red_at[1] :: 2] = 200  # a purely red scene
    middle = decode_image(image(encoding, mosaic, 8))[3:5, 3:5].reshape(-1, 3)
    assert (middle == [200, 0, 0]).all()


@pytest.mark.parametrize(
    ("encoding", "quad"),
    [
        ("yuv422", (90, 81, 240, 81)),
        ("uyvy", (90, 81, 240, 81)),
        ("yuv422_yuy2", (81, 90, 81, 240)),
        ("yuyv", (81, 90, 81, 240)),
    ],
)
def test_yuv_red(encoding: str, quad: tuple[int, ...]) -> None:
    """ITU-R BT.601: Y 81, Cb 90, Cr 240 is pure red."""
    rows = np.tile(np.array(quad, np.uint8), (2, 2, 1)).reshape(2, 4, 2)
    red, green, blue = decode_image(image(encoding, rows, 4))[0, 0].tolist()
    assert red > 250
    assert max(green, blue) < 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "magic"}, "magic"),
        ({"data": np.zeros(5, np.uint8)}, "damaged"),
        ({"step": 3}, "damaged"),
        ({"height": 0}, "at least one pixel"),
    ],
)
def test_images_that_lie_are_refused(changes: dict[str, Any], words: str) -> None:
    message = image("rgb8", np.zeros((2, 6), np.uint8), 2)
    vars(message).update(changes)
    with pytest.raises(DataError, match=words):
        decode_image(message)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_compressed_pictures_and_what_is_left_of_them(kind: str) -> None:
    picture = np.full((64, 64, 3), (200, 30, 40), np.uint8)
    picture[:, 32:] = np.random.default_rng(1).integers(0, 255, (64, 32, 3))
    _, data = cv2.imencode(f".{kind}", picture[..., ::-1])
    whole = decode_compressed(Message(data=data, format=kind))
    assert np.abs(whole[:, :24].astype(int) - picture[:, :24]).max() < 12
    for damaged in (data[: len(data) // 2], data[:0], np.zeros(100, np.uint8)):
        with pytest.raises(DataError, match="damaged"):
            decode_compressed(Message(data=damaged, format=kind))


def cloud(layout: np.dtype[Any], points: Any, fields: list[tuple[str, int]], **changes: Any) -> Message:
    records = np.zeros(len(points), layout)
    for i, axis in enumerate("xyz"):
        records[axis] = np.asarray(points, float)[:, i]
    offsets = {name: layout.fields[name][1] for name in layout.names or ()} if layout.fields else {}
    described = [Message(name=n, offset=offsets[n], datatype=t, count=1) for n, t in fields]
    values: dict[str, Any] = {"height": 1, "width": len(points), "is_bigendian": False, "point_step": layout.itemsize}
    values |= {"row_step": records.nbytes, "data": records.view(np.uint8).ravel(), "fields": described}
    return Message(header=STAMP, **{**values, **changes})


POINTS = [[1.0, 2.0, 3.0], [np.nan, 0.0, 0.0], [-4.5, 0.25, np.inf], [7.0, 8.0, 9.0]]
FINITE = [[1.0, 2.0, 3.0], [7.0, 8.0, 9.0]]


@pytest.mark.parametrize(
    ("layout", "fields", "big"),
    [
        ([("x", "<f4"), ("y", "<f4"), ("z", "<f4")], [("x", 7), ("y", 7), ("z", 7)], False),
        ([("i", "<u2"), ("z", "<f4"), ("y", "<f4"), ("x", "<f4"), ("t", "<u4")], [("z", 7), ("x", 7), ("y", 7)], False),
        ([("x", "<f8"), ("y", "<f8"), ("z", "<f8"), ("pad", "V5")], [("x", 8), ("y", 8), ("z", 8)], False),
        ([("x", ">f4"), ("y", ">f4"), ("z", ">f4")], [("x", 7), ("y", 7), ("z", 7)], True),
    ],
    ids=["plain", "other order", "float64 and padding", "big-endian"],
)
def test_cloud_layouts(layout: Any, fields: list[tuple[str, int]], big: bool) -> None:
    decoded = decode_cloud(cloud(np.dtype(layout), POINTS, fields, is_bigendian=big))
    assert decoded.xyz.tolist() == FINITE
    assert (decoded.stamp_ns, decoded.frame_id) == (2_000_000_005, "lidar")


def test_organised_cloud_with_padded_rows() -> None:
    rows = np.zeros((2, 40), np.uint8)
    rows[:, :24] = np.arange(12, dtype="<f4").reshape(2, 6).view(np.uint8)
    fields = [Message(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate("xyz")]
    message = Message(
        header=STAMP, height=2, width=2, is_bigendian=False, point_step=12, row_step=40, data=rows.ravel(),
        fields=fields,
    )  # fmt: skip
    assert decode_cloud(message).xyz.ravel().tolist() == list(range(12))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fields": []}, "fields x, y and z"),
        ({"data": np.zeros(10, np.uint8)}, "damaged"),
        ({"point_step": 8}, "outside"),
        ({"fields": [Message(name=n, offset=0, datatype=2, count=1) for n in "xyz"]}, "float32 or float64"),
    ],
)
def test_clouds_that_lie_are_refused(changes: dict[str, Any], words: str) -> None:
    message = cloud(np.dtype([(n, "<f4") for n in "xyz"]), POINTS, [(n, 7) for n in "xyz"])
    vars(message).update(changes)
    with pytest.raises(DataError, match=words):
        decode_cloud(message)


def test_empty_cloud() -> None:
    empty = Message(header=STAMP, height=1, width=0, is_bigendian=False, point_step=12, row_step=0, data=b"", fields=[
        Message(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate("xyz")])  # fmt: skip
    assert decode_cloud(empty).xyz.shape == (0, 3)


def test_calibration_without_rectification() -> None:
    message = Message(
        header=STAMP, width=4, height=2, k=[5.0, 0, 2, 0, 6, 1, 0, 0, 1], d=[0.1, 0.2], r=[0.0] * 9, p=[0.0] * 12,
        distortion_model="",
    )  # fmt: skip
    calibration = decode_calibration(message)
    assert calibration.K[1].tolist() == [0, 6, 1]
    assert calibration.R.tolist() == np.eye(3).tolist()
    assert calibration.P is None
    assert calibration.distortion_model == "plumb_bob"


def test_an_uncalibrated_camera_is_refused() -> None:
    message = Message(
        header=STAMP, width=4, height=2, k=[0.0] * 9, d=[], r=[0.0] * 9, p=[0.0] * 12, distortion_model=""
    )
    with pytest.raises(DataError, match="not calibrated"):
        decode_calibration(message)
