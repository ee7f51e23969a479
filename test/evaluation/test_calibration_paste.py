# SPDX-License-Identifier: Apache-2.0
"""Outliers pasted into normal pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.calibration_paste import Cutout, PastedImages, PasteSettings, cutouts_of, made_up
from vl_anomaly_ros.evaluation.calibration_pictures import NormalPictures, normal_images
from vl_anomaly_ros.evaluation.image_set import ANOMALY, VOID, ImageSet, LabelledImage

RED = Cutout(np.full((40, 30, 3), (200, 20, 20), np.uint8), np.ones((40, 30), np.float32), "red box")


def normal(index: int = 0, width: int = 320, height: int = 160) -> LabelledImage:
    image = np.full((height, width, 3), 90, np.uint8)
    semantic = np.zeros((height, width), np.uint8)
    semantic[:10] = VOID
    return LabelledImage(index, image, semantic, np.zeros((height, width), np.uint16), ())


def pasted(seed: int = 0, cutouts: Any = (RED,), count: int = 6, **settings: Any) -> list[LabelledImage]:
    return list(PastedImages([normal(i) for i in range(count)], cutouts, PasteSettings(seed=seed, **settings)))


def test_every_picture_gets_an_anomaly_and_its_truth_says_where() -> None:
    for item in pasted():
        changed = (item.image != 90).any(axis=-1)
        anomalous = item.semantic == ANOMALY
        assert anomalous.any()
        assert changed[anomalous].all()
        assert not changed[item.semantic == 0].any()  # what lies between is void
        assert ((item.instances > 0) == anomalous).all()
        assert {record["category"] for record in item.objects} == {"red box"}
        assert set(np.unique(item.label)) == {0, 1, 255}


def test_things_stand_below_the_horizon_and_grow_towards_the_camera() -> None:
    bottoms, heights = [], []
    for item in pasted(count=40, mean_count=0.0, size_m=(1.0, 1.0)):
        rows = np.flatnonzero((item.semantic == ANOMALY).any(axis=1))
        bottoms.append(rows[-1])
        heights.append(len(rows))
    assert min(bottoms) > 0.45 * 160
    assert np.corrcoef(bottoms, heights)[0, 1] > 0.9


def test_the_same_seed_pastes_the_same_and_another_does_not() -> None:
    first, again, other = pasted(1, ()), pasted(1, ()), pasted(2, ())
    assert all((a.image == b.image).all() for a, b in zip(first, again))
    assert any((a.image != b.image).any() for a, b in zip(first, other))


def test_made_up_things_differ_and_have_no_name() -> None:
    rng = np.random.default_rng(0)
    things = [made_up(rng) for _ in range(20)]
    assert all(0.05 < thing.alpha.mean() <= 1 and thing.image.shape[:2] == thing.alpha.shape for thing in things)
    assert len({thing.image.mean().round() for thing in things}) > 10
    assert all(item.objects == () for item in pasted(cutouts=()))


def test_a_picture_with_anomalies_is_not_normal() -> None:
    item = normal()
    item.semantic[50, 50] = ANOMALY
    with pytest.raises(EvaluationError, match="expected a normal picture"):
        list(PastedImages([item], (), PasteSettings()))


@pytest.fixture
def simulated(tmp_path: Path) -> Path:
    """A set of one picture: a dog in the middle, another at the edge, and a known car."""
    for folder in ("images", "semantic", "instances"):
        (tmp_path / folder).mkdir()
    image, instances = np.full((100, 200, 3), 50, np.uint8), np.zeros((100, 200), np.uint16)
    objects = []
    for number, (category, known, (x0, y0, x1, y1)) in enumerate(
        (("dog", False, (50, 40, 80, 60)), ("dog", False, (0, 40, 30, 60)), ("car", True, (100, 40, 140, 80))), 1
    ):
        instances[y0:y1, x0:x1] = number
        image[y0:y1, x0:x1] = 60 * number
        area = (x1 - x0) * (y1 - y0)
        objects.append(
            {"instance": number, "category": category, "known": known, "bbox": [x0, y0, x1, y1], "area_px": area}
        )
    for folder, picture in (("images", image), ("semantic", np.zeros((100, 200), np.uint8)), ("instances", instances)):
        cv2.imwrite(str(tmp_path / folder / "000000.png"), picture)
    (tmp_path / "objects.jsonl").write_text(json.dumps({"frame": 0, "objects": objects}) + "\n")
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({"version": 2}))
    return tmp_path


def test_only_whole_anomalies_are_cut_out(simulated: Path) -> None:
    (found,) = cutouts_of(ImageSet(simulated))
    assert found.category == "dog"
    assert found.alpha.shape == (20, 30)
    assert (found.image == 60).all()
    with pytest.raises(EvaluationError, match="found none of 5000 px"):
        cutouts_of(ImageSet(simulated), min_area_px=5000)


def test_plain_pictures_are_fitted_and_what_they_do_not_fill_is_void(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    (tmp_path / "deeper").mkdir()
    cv2.imwrite(str(tmp_path / "b.jpg"), np.full((300, 300, 3), 80, np.uint8))
    cv2.imwrite(str(tmp_path / "deeper" / "a.png"), np.full((60, 120, 3), 80, np.uint8))
    found = normal_images(tmp_path, bundle)
    assert isinstance(found, NormalPictures)
    square, _ = found
    assert square.image.shape == (bundle.input_height, bundle.input_width, 3)
    filled = square.label == 0
    assert 0.9 < filled.sum() / bundle.input_height**2 < 1.1
    assert (np.abs(square.image[filled].astype(int) - 80) < 3).all()
    item = next(iter(PastedImages(found, (RED,), PasteSettings())))
    assert (item.label == 1).any()


def test_a_labelled_set_keeps_its_labels(simulated: Path, tiny_bundle: Path) -> None:
    assert isinstance(normal_images(simulated, load_bundle(tiny_bundle)), ImageSet)


def test_no_picture_or_a_broken_one_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    with pytest.raises(EvaluationError, match="found none"):
        NormalPictures(tmp_path, bundle)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(EvaluationError, match="cannot be read"):
        list(NormalPictures(tmp_path, bundle))
