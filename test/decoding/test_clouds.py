# SPDX-License-Identifier: Apache-2.0
"""Clouds in every layout that drivers use, with and without times of the points; and clouds that lie."""

from __future__ import annotations

from types import SimpleNamespace as Message
from typing import Any

import numpy as np
import pytest

from vl_anomaly_ros.decoding.clouds import decode_cloud
from vl_anomaly_ros.errors import DataError

HEADER = Message(stamp=Message(sec=2, nanosec=5), frame_id="lidar")
STAMP_NS = 2_000_000_005


def field(name: str, offset: int, datatype: int = 7, count: int = 1) -> Message:
    return Message(name=name, offset=offset, datatype=datatype, count=count)


def cloud(layout: np.dtype[Any], points: Any, typed: list[tuple[str, int]], **changes: Any) -> Message:
    """A message whose points lie as `layout` says; `columns` in `changes` fills other fields."""
    records = np.zeros(len(points), layout)
    columns = {**dict(zip("xyz", np.asarray(points, float).T)), **changes.pop("columns", {})}
    for name, column in columns.items():
        records[name] = column
    offsets = {name: layout.fields[name][1] for name in layout.names or ()} if layout.fields else {}
    described = [field(n, offsets[n], t) for n, t in typed]
    values: dict[str, Any] = {"height": 1, "width": len(points), "is_bigendian": False, "point_step": layout.itemsize}
    values |= {"row_step": records.nbytes, "data": records.view(np.uint8).ravel(), "fields": described}
    return Message(header=HEADER, is_dense=True, **{**values, **changes})


POINTS = [[1.0, 2.0, 3.0], [np.nan, 0.0, 0.0], [-4.5, 0.25, np.inf], [7.0, 8.0, 9.0]]
FINITE = [[1.0, 2.0, 3.0], [7.0, 8.0, 9.0]]
XYZ = [("x", 7), ("y", 7), ("z", 7)]


@pytest.mark.parametrize(
    ("layout", "fields", "big"),
    [
        ([("x", "<f4"), ("y", "<f4"), ("z", "<f4")], XYZ, False),
        ([("i", "<u2"), ("z", "<f4"), ("y", "<f4"), ("x", "<f4"), ("u", "<u4")], [("z", 7), ("x", 7), ("y", 7)], False),
        ([("x", "<f8"), ("y", "<f8"), ("z", "<f8"), ("pad", "V5")], [("x", 8), ("y", 8), ("z", 8)], False),
        ([("x", "<f8"), ("y", "<f4"), ("z", "<f8")], [("x", 8), ("y", 7), ("z", 8)], False),
        ([("x", ">f4"), ("y", ">f4"), ("z", ">f4")], XYZ, True),
    ],
    ids=["plain", "other order", "float64 and padding", "mixed", "big-endian"],
)
def test_layouts(layout: Any, fields: list[tuple[str, int]], big: bool) -> None:
    decoded = decode_cloud(cloud(np.dtype(layout), POINTS, fields, is_bigendian=big))
    assert decoded.xyz.tolist() == FINITE
    assert (decoded.stamp_ns, decoded.frame_id) == (STAMP_NS, "lidar")
    assert decoded.offsets_ns is None
    assert decoded.notes == ()


def test_organised_cloud_with_padded_rows() -> None:
    rows = np.zeros((2, 40), np.uint8)
    rows[:, :24] = np.arange(12, dtype="<f4").reshape(2, 6).view(np.uint8)
    message = Message(
        header=HEADER, height=2, width=2, is_bigendian=False, point_step=12, row_step=40, data=rows.ravel(),
        fields=[field(n, 4 * i) for i, n in enumerate("xyz")],
    )  # fmt: skip
    assert decode_cloud(message).xyz.ravel().tolist() == list(range(12))


def plain(points: Any = FINITE, **changes: Any) -> Message:
    return cloud(np.dtype([(n, "<f4") for n in "xyz"]), points, XYZ, **changes)


@pytest.mark.parametrize("row_step", [0, 7, 2**32 - 1])
def test_a_single_row_needs_no_row_step(row_step: int) -> None:
    assert decode_cloud(plain(row_step=row_step)).xyz.tolist() == FINITE


def test_coordinates_beyond_float32_are_no_points() -> None:
    layout = np.dtype([(n, "<f8") for n in "xyz"])
    message = cloud(layout, [[1e300, 0, 0], [1, 2, 3]], [(n, 8) for n in "xyz"])
    assert decode_cloud(message).xyz.tolist() == [[1, 2, 3]]


def test_large_finite_coordinates_whose_sum_overflows_stay() -> None:
    assert len(decode_cloud(plain([[3e38, 3e38, 3e38]] * 2)).xyz) == 2


@pytest.mark.parametrize("changes", [{"width": 0}, {"height": 0}, {"width": 0, "data": b""}])
def test_empty_clouds(changes: dict[str, Any]) -> None:
    assert decode_cloud(plain(**changes)).xyz.shape == (0, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fields": []}, "expected fields x, y and z, got none"),
        ({"fields": [field("y", 4), field("z", 8)]}, "expected fields x, y and z, got 'y', 'z'"),
        ({"data": np.zeros(10, np.uint8)}, "10 bytes; the message is damaged"),
        ({"point_step": 8}, "field z within the 8 bytes of a point, got offset 8"),
        ({"point_step": 0}, "field x within the 0 bytes"),
        ({"fields": [field(n, 4 * i, 2) for i, n in enumerate("xyz")]}, "x as float32 or float64, got datatype 2"),
        ({"fields": [field(n, 4 * i, count=3) for i, n in enumerate("xyz")]}, "the last with 3 numbers"),
        ({"fields": [field(n, 0) for n in "xyxz"]}, "got 2 fields of that name"),
        ({"fields": [field(n, 0) for n in "xyz"]}, "in different places"),
        ({"width": 2**32 - 1, "height": 2**32 - 1}, "the message is damaged"),
        ({"height": 2, "width": 1, "row_step": 4}, "got row step 4"),
    ],
)
def test_clouds_that_lie_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode_cloud(plain(**changes))


TIMED = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("t", "<u4")])


def test_times_go_with_the_points_that_are_kept() -> None:
    decoded = decode_cloud(cloud(TIMED, POINTS, [*XYZ, ("t", 6)], columns={"t": [0, 10, 20, 30_000_000]}))
    assert decoded.offsets_ns is not None
    assert decoded.offsets_ns.tolist() == [0, 30_000_000]
    assert decoded.notes == ()


def test_times_that_make_no_sense_cost_only_the_times() -> None:
    decoded = decode_cloud(cloud(TIMED, FINITE, [*XYZ, ("t", 6)], columns={"t": [0, 4_000_000_000]}))
    assert decoded.xyz.tolist() == FINITE
    assert decoded.offsets_ns is None
    assert decoded.notes == (
        "times of the points: expected field t within 1 s of the stamp 2.000 s, got 0 to 4e+09 (uint32)",
    )


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (field("t", 12, 2), "got 1 fields of that name, the last with datatype 2 and count 1"),
        (field("t", 12, 6, count=2), "datatype 6 and count 2"),
        (field("t", 14, 6), "field t lies outside the 16 bytes of a point"),
    ],
)
def test_a_time_field_that_lies(time: Message, words: str) -> None:
    message = cloud(TIMED, FINITE, XYZ)
    message.fields.append(time)
    decoded = decode_cloud(message)
    assert decoded.xyz.tolist() == FINITE
    assert decoded.offsets_ns is None
    assert words in decoded.notes[0]


def test_another_time_field_is_tried() -> None:
    layout = np.dtype([*((n, "<f4") for n in "xyz"), ("t", "<u1"), ("timestamp", "<f8")])
    message = cloud(layout, FINITE, [*XYZ, ("t", 2), ("timestamp", 8)], columns={"timestamp": [2.0, 2.1]})
    offsets = decode_cloud(message).offsets_ns
    assert offsets is not None
    assert np.abs(offsets - [-5, 99_999_995]).max() <= 1


def test_big_endian_times() -> None:
    layout = np.dtype([*((n, ">f4") for n in "xyz"), ("time", ">f4")])
    message = cloud(layout, FINITE, [*XYZ, ("time", 7)], columns={"time": [-0.05, 0.0]}, is_bigendian=True)
    offsets = decode_cloud(message).offsets_ns
    assert offsets is not None
    assert np.abs(offsets - [-50_000_000, 0]).max() <= 1
