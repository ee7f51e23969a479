# SPDX-License-Identifier: Apache-2.0
"""What is serialised here, rclpy reads as the message that was meant, and would itself have sent as many bytes."""

from __future__ import annotations

import importlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from geometry_msgs.msg import Point32, Polygon
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from visualization_msgs.msg import Marker, MarkerArray
from vl_anomaly_ros.msg import AnomalyArray, AnomalyCandidate, AnomalyLabel, HazardZone, HazardZoneArray

from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.node.cdr import plain, serialized

PUBLISHED = (AnomalyArray, HazardZoneArray, MarkerArray)
OTHERS = (AnomalyLabel, HazardZone, Marker, Polygon, Image, PointCloud2, CameraInfo)
RANGES = {"int8": 7, "uint8": 8, "int16": 15, "uint16": 16, "int32": 31, "uint32": 32, "int64": 63, "uint64": 64}
WORDS = ("", "a", "dog", "four", "five5", "Hund, groß", "犬", "x" * 1000)


def filled(kind: Any, rng: np.random.Generator) -> Any:
    """A message of this class with a random value in every field."""
    return kind(**{name: value_of(of, rng) for name, of in kind.get_fields_and_field_types().items()})


def value_of(name: str, rng: np.random.Generator) -> Any:
    if found := re.fullmatch(r"sequence<([^,]+)(?:, \d+)?>", name):
        return [value_of(found[1], rng) for _ in range(rng.integers(0, 4))]
    if found := re.fullmatch(r"(.+)\[(\d+)\]", name):
        return [value_of(found[1], rng) for _ in range(int(found[2]))]
    if name in RANGES:
        low = 0 if name.startswith("u") else -(2 ** RANGES[name])
        return int(rng.integers(low, 2 ** RANGES[name] - 1, dtype=np.uint64 if low == 0 else np.int64))
    if name == "string":
        return str(rng.choice(WORDS))
    if name == "boolean":
        return bool(rng.integers(2))
    if name in ("float", "double"):
        return float(np.float32(rng.normal() * 10.0 ** rng.integers(-5, 5)))
    package, _, kind = name.partition("/")
    return filled(getattr(importlib.import_module(f"{package}.msg"), kind), rng)


@pytest.mark.parametrize("kind", [*PUBLISHED, *OTHERS])
@pytest.mark.parametrize("seed", range(8))
def test_rclpy_reads_what_was_meant(kind: Any, seed: int) -> None:
    message = filled(kind, np.random.default_rng(seed))
    for value in (message, plain(message)):
        data = serialized(kind, value)
        assert len(data) == len(serialize_message(message))
        assert deserialize_message(data, kind) == message


@pytest.mark.parametrize("kind", [*PUBLISHED, *OTHERS])
def test_an_empty_message(kind: Any) -> None:
    assert deserialize_message(serialized(kind, kind()), kind) == kind()


def test_numbers_that_are_none_come_through() -> None:
    zone = HazardZone(distance_m=math.inf, closing_speed_mps=math.nan)
    read = deserialize_message(serialized(HazardZone, zone), HazardZone)
    assert read.distance_m == math.inf
    assert math.isnan(read.closing_speed_mps)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_an_array_stands_for_a_list_of_points(count: int) -> None:
    corners = np.random.default_rng(0).random((count, 3))
    footprint = plain(Polygon())
    footprint.points = corners
    read = deserialize_message(serialized(Polygon, footprint), Polygon)
    expected = corners.astype(np.float32)
    assert read.points == [Point32(x=float(x), y=float(y), z=float(z)) for x, y, z in expected]


def test_a_tuple_stands_for_a_message_of_its_fields() -> None:
    label = plain(AnomalyLabel(name="dog"))
    label.runners_up = (("cat", 0.25), ("Hund, groß", 0.125))
    read = deserialize_message(serialized(AnomalyLabel, label), AnomalyLabel)
    assert read.runners_up == [AnomalyCandidate(name=name, confidence=sure) for name, sure in label.runners_up]
    label.runners_up = (("cat",),)
    with pytest.raises(DataError, match="expected 2 fields, got 1"):
        serialized(AnomalyLabel, label)


def test_what_is_between_the_values_is_zero() -> None:
    """Other writers leave there what was in memory before."""
    label = plain(AnomalyLabel(name="ab"))
    assert serialized(AnomalyLabel, label)[4:20] == bytes([0] * 8) + b"\x03\0\0\0ab\0\0"


@pytest.mark.parametrize("broken", ["name", "roi", "confidence"])
def test_a_missing_field_is_refused(broken: str) -> None:
    label = plain(AnomalyLabel())
    delattr(label, broken)
    with pytest.raises(AttributeError, match=broken):
        serialized(AnomalyLabel, label)


@pytest.mark.parametrize("covariance", [[], [1.0] * 8, [1.0] * 10, np.ones((3, 3))])
def test_a_list_of_a_wrong_length_is_refused(covariance: Any) -> None:
    zone = plain(HazardZone())
    zone.position_covariance = covariance
    with pytest.raises(DataError, match="expected 9"):
        serialized(HazardZone, zone)


@pytest.mark.parametrize("points", [np.ones((4, 2)), np.ones(4), np.ones((2, 3, 1))])
def test_points_of_a_wrong_shape_are_refused(points: Any) -> None:
    footprint = plain(Polygon())
    footprint.points = points
    with pytest.raises(DataError, match="any number"):
        serialized(Polygon, footprint)


def test_a_type_that_is_not_supported_is_refused() -> None:
    class Wide:
        @classmethod
        def get_fields_and_field_types(cls) -> dict[str, str]:
            return {"text": "wstring"}

    with pytest.raises(DataError, match="wstring"):
        serialized(Wide, Wide())


@pytest.mark.parametrize("store", [Stores.ROS2_HUMBLE, Stores.ROS2_JAZZY, Stores.ROS2_KILTED])
@pytest.mark.parametrize("kind", PUBLISHED)
def test_the_bytes_are_those_of_an_independent_writer_on_every_distribution(store: Stores, kind: Any) -> None:
    """Byte by byte; rclpy cannot be compared so, for it leaves between the values what was in memory before."""
    types = get_typestore(store)
    for file in sorted((Path(__file__).parents[2] / "msg").glob("*.msg")):
        types.register(get_types_from_msg(file.read_text(), f"vl_anomaly_ros/msg/{file.stem}"))
    name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
    for seed in range(5):
        data = serialized(kind, filled(kind, np.random.default_rng(seed)))
        assert bytes(types.serialize_cdr(types.deserialize_cdr(data, name), name)) == data
