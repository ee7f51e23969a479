# SPDX-License-Identifier: Apache-2.0
"""The catalogue: three splits without overlap, every builder sound."""

from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.simulation import road_things, roadside
from vl_anomaly_ros.simulation.catalogue import ANOMALIES, KNOWN_CLASSES, AnomalyCategory, anomaly_categories
from vl_anomaly_ros.simulation.scene import Shape
from vl_anomaly_ros.simulation.textures import TILE_M, make_textures


def _check(shape: Shape) -> None:
    assert shape.parts
    vertices = np.concatenate([part.mesh.vertices for part in shape.parts])
    np.testing.assert_allclose(vertices.min(axis=0), shape.low_m, atol=1e-9)
    np.testing.assert_allclose(vertices.max(axis=0), shape.high_m, atol=1e-9)
    for part in shape.parts:
        assert part.texture in TILE_M
        assert all(0 <= value <= 1 for value in part.colour)
        assert np.isfinite(part.mesh.vertices).all()
        assert len(part.mesh.vertices) >= 4, "MuJoCo takes no smaller mesh"


def test_known_classes_are_in_their_fixed_order() -> None:
    assert KNOWN_CLASSES == (
        "road", "lane marking", "sidewalk", "terrain", "building", "fence", "pole", "traffic sign", "vegetation", "sky",
        "car", "truck", "person", "cyclist",
    )  # fmt: skip


def test_splits_are_disjoint_and_broad() -> None:
    seen, unseen = ({row.name for row in anomaly_categories(split)} for split in ("seen", "unseen"))
    assert not seen & unseen
    assert not (seen | unseen) & set(KNOWN_CLASSES)
    assert len(seen) >= 20
    assert len(unseen) >= 12
    assert len(ANOMALIES) == len(seen) + len(unseen) == len(anomaly_categories("all"))
    assert anomaly_categories("none") == ()


@pytest.mark.parametrize("row", ANOMALIES, ids=lambda row: row.name)
def test_anomaly_stands_on_the_ground(row: AnomalyCategory) -> None:
    rng = np.random.default_rng(1)
    for size in (*row.size_m, float(np.mean(row.size_m))):
        for _ in range(3):
            shape = row.build(rng, size)
            _check(shape)
            assert shape.low_m[2] == pytest.approx(0.0, abs=1e-9)
            assert 0.3 * row.size_m[0] < shape.size_m.max() < 4.5 * row.size_m[1]


def test_smallest_debris_is_about_10_cm() -> None:
    smallest = min(
        min(row.build(np.random.default_rng(i), row.size_m[0]).size_m[2] for i in range(5)) for row in ANOMALIES
    )
    assert smallest < 0.1


def test_known_things_have_the_right_size() -> None:
    rng = np.random.default_rng(2)
    for build, length, height in (
        (road_things.car, (3.3, 5.6), (1.2, 2.5)),
        (road_things.truck, (5.5, 12.0), (2.4, 4.0)),
        (road_things.person, (0.1, 1.6), (1.0, 2.3)),
        (road_things.cyclist, (1.4, 2.2), (1.4, 2.4)),
    ):
        for _ in range(12):
            _, shape = build(rng)
            _check(shape)
            assert length[0] < shape.size_m[0] < length[1]
            assert height[0] < shape.size_m[2] < height[1]
    for plain in (roadside.tree, roadside.bush, roadside.pole):
        for _ in range(8):
            _check(plain(rng)[1])
    for _ in range(12):
        pieces = roadside.traffic_sign(rng)
        assert [name for name, _, _ in pieces] == ["pole", "traffic sign"]
        assert pieces[1][2].low_m[2] > 1.0, "the plate hangs on its post"


def test_same_seed_gives_the_same_textures() -> None:
    first, again, other = (make_textures(np.random.default_rng(seed)) for seed in (5, 5, 6))
    for name, tile in first.items():
        np.testing.assert_array_equal(tile, again[name])
    # Some tiles, such as corrugated sheet, have few variants.
    assert sum(not np.array_equal(tile, other[name]) for name, tile in first.items()) > 0.8 * len(first)
