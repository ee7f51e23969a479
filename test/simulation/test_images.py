# SPDX-License-Identifier: Apache-2.0
"""Image data sets: layout, truth that agrees with the pictures, the same bytes again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from vl_anomaly_ros.errors import SimulationError
from vl_anomaly_ros.simulation.catalogue import KNOWN_CLASSES, anomaly_categories
from vl_anomaly_ros.simulation.images import generate_images
from vl_anomaly_ros.simulation.truth import pixel_boxes
from vl_anomaly_ros.simulation.views import anomaly_number

SIZE: dict[str, Any] = {"width": 128, "height": 64}


@pytest.fixture(scope="module")
def seen(gl: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """Four pictures of two scenes with many anomalies."""
    out = tmp_path_factory.mktemp("images") / "seen"
    generate_images(out, count=4, seed=1, anomalies="seen", anomaly_density=5, views_per_scene=2, **SIZE)
    return out


def _frames(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "objects.jsonl").read_text(encoding="utf-8").splitlines()]


def _picture(folder: Path, kind: str, frame: int) -> Any:
    return cv2.imread(str(folder / kind / f"{frame:06d}.png"), cv2.IMREAD_UNCHANGED)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_layout_and_types(seen: Path) -> None:
    about = yaml.safe_load((seen / "dataset.yaml").read_text(encoding="utf-8"))
    assert about["classes"] == list(KNOWN_CLASSES)
    assert about["counts"]["frames"] == 4
    assert about["settings"]["seed"] == 1
    assert sum(about["looks"].values()) == sum(about["styles"].values()) == 4
    assert (about["world"], about["version"]) == ("standard", 2)
    assert not (seen / "hard").exists()
    for frame in range(4):
        assert _picture(seen, "images", frame).shape == (64, 128, 3)
        assert _picture(seen, "semantic", frame).dtype == np.uint8
        assert _picture(seen, "instances", frame).dtype == np.uint16


def test_objects_agree_with_the_masks(seen: Path) -> None:
    names = {row.name for row in anomaly_categories("seen")}
    anomalies = 0
    for record in _frames(seen):
        semantic, instances = (_picture(seen, kind, record["frame"]) for kind in ("semantic", "instances"))
        assert set(np.unique(semantic)) <= {*range(len(KNOWN_CLASSES)), 254}
        assert {thing["instance"] for thing in record["objects"]} == set(np.unique(instances)) - {0}
        for thing in record["objects"]:
            mask = instances == thing["instance"]
            rows, columns = np.nonzero(mask)
            assert thing["area_px"] == mask.sum()
            assert thing["bbox"] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            values = set(np.unique(semantic[mask]))
            if thing["known"]:
                assert values == {KNOWN_CLASSES.index(thing["category"])}
            else:
                anomalies += 1
                assert values == {254}
                assert thing["category"] in names
                assert thing["split"] == "seen"
        anomaly_pixels = sum(thing["area_px"] for thing in record["objects"] if not thing["known"])
        assert anomaly_pixels == (semantic == 254).sum()
    assert anomalies >= 3


def test_boxes_in_metres_cover_the_pixels(seen: Path) -> None:
    """An object's 3D box, projected, holds the box of its pixels."""
    for record in _frames(seen):
        k, pitch = np.array(record["camera"]["K"]).reshape(3, 3), record["camera"]["pitch_rad"]
        for thing in record["objects"]:
            # The camera's small yaw is not in the record: allow it as a shift along the picture.
            depth = thing["center_m"][0] - 1.2
            if thing["known"] or depth - max(thing["size_m"]) < 2:
                continue
            height_px = thing["bbox"][3] - thing["bbox"][1]
            reach = np.linalg.norm(thing["size_m"])
            assert height_px <= k[1, 1] * reach / (depth - reach / 2) * 1.2 + 2
            drop = record["camera"]["height_m"] - thing["center_m"][2]
            row = k[1, 2] + k[1, 1] * np.tan(np.arctan2(drop, depth) - pitch)
            slack = k[1, 1] * reach / 2 / (depth - reach / 2) + 3
            assert thing["bbox"][1] - slack <= row <= thing["bbox"][3] + slack


def test_no_anomaly_where_none_is_asked_for(gl: None, tmp_path: Path) -> None:  # noqa: ARG001
    generate_images(tmp_path, count=2, seed=2, anomalies="none", views_per_scene=2, **SIZE)
    for record in _frames(tmp_path):
        assert all(thing["known"] for thing in record["objects"])
        assert not (_picture(tmp_path, "semantic", record["frame"]) == 254).any()


def test_same_seed_same_bytes_whatever_the_number_of_processes(seen: Path, tmp_path: Path) -> None:
    generate_images(
        tmp_path, count=4, seed=1, anomalies="seen", anomaly_density=5, views_per_scene=2, workers=2, **SIZE
    )
    assert _contents(tmp_path) == _contents(seen)


def test_another_seed_gives_another_picture(seen: Path, tmp_path: Path) -> None:
    generate_images(tmp_path, count=1, seed=3, anomalies="seen", anomaly_density=5, **SIZE)
    assert (tmp_path / "images" / "000000.png").read_bytes() != (seen / "images" / "000000.png").read_bytes()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"anomalies": "some"}, "anomalies: expected none, seen, unseen or all"),
        ({"count": 0}, "count: expected at least 1"),
        ({"anomaly_density": -1.0}, "not negative"),
    ],
)
def test_bad_settings_are_refused_by_name(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    with pytest.raises(SimulationError, match=text):
        generate_images(tmp_path, **{"count": 1, "seed": 0, **change})


def test_boxes_of_pixels() -> None:
    picture = np.zeros((4, 5), np.uint16)
    picture[1:3, 2:5] = 9
    picture[0, 0] = 300
    assert pixel_boxes(picture) == {9: ([2, 1, 5, 3], 6), 300: ([0, 0, 1, 1], 1)}
    assert pixel_boxes(np.zeros((2, 2), np.uint16)) == {}


def test_number_of_anomalies_follows_the_density() -> None:
    rng = np.random.default_rng(0)
    assert {anomaly_number(rng, 3.0) for _ in range(200)} == {1, 2, 3, 4, 5}
    assert {anomaly_number(rng, 0.5) for _ in range(50)} == {0, 1}
    assert {anomaly_number(rng, 0.0) for _ in range(50)} == {0}
