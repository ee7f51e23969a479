# SPDX-License-Identifier: Apache-2.0
"""A tagger learns which colours are in an image from which things are, and runs as any other tagger does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_bundle import BLUE, GREY, MAGENTA, RED, YELLOW, build_tiny_bundle

from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.engine.tagger import Tagger
from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.evaluation.image_set import LabelledImage
from vl_anomaly_ros.training.tagger import TaggerSettings, fit, train_tagger

THINGS = {"dog": RED, "sofa": MAGENTA, "cone": YELLOW}


def images(count: int, names: tuple[str, ...] = tuple(THINGS)) -> Iterator[LabelledImage]:
    """Sky over road with some of the things, each of 8 x 16 pixels, one of them seen by a single pixel."""
    rng = np.random.default_rng(0)
    for index in range(count):
        image = np.full((32, 64, 3), GREY, np.uint8)
        image[:12] = BLUE
        instances, objects = np.zeros((32, 64), np.uint16), []
        for number, name in enumerate(names, 1):
            if rng.random() < 0.5:
                continue
            x = 20 * (number - 1)
            image[20:28, x : x + 16], instances[20:28, x : x + 16] = THINGS[name], number
            objects.append({"instance": number, "category": name, "known": False})
        instances[0, 0] = 9
        objects.append({"instance": 9, "category": "cone", "known": False})  # far too small to count
        yield LabelledImage(index, image, np.zeros((32, 64), np.uint8), instances, tuple(objects))


def test_it_learns_and_is_a_tagger_like_any_other(tmp_path: Path) -> None:
    bundle = load_bundle(build_tiny_bundle(tmp_path / "bundle"))
    out, seen = tmp_path / "tagger", []
    figures = train_tagger(bundle, images(40), out, "40 pictures", TaggerSettings(min_area_px=8), seen.append)
    assert seen[-1] == 40
    assert figures["tags_measured"] == 3
    assert min(figures["mean_average_precision"], figures["precision"], figures["recall"]) > 0.95
    tagger = Tagger(out, threads=1)
    assert tagger.words == ("dog", "sofa", "cone")
    for item in images(12):
        wanted = {record["category"] for record in item.objects if record["instance"] != 9}
        assert {tagger.words[index] for index in tagger.tags(item.image, 9)} == wanted
        larger = item.image.repeat(3, axis=0).repeat(3, axis=1)
        assert {tagger.words[index] for index in tagger.tags(larger, 9)} == wanted
    description = yaml.safe_load((out / "tagger.yaml").read_text())
    assert description["figures"] == {"measured_on": "the last 12 of 40 pictures", **figures}


def test_a_word_that_no_held_out_image_shows_is_never_given(tmp_path: Path) -> None:
    bundle = load_bundle(build_tiny_bundle(tmp_path / "bundle"))
    train_tagger(bundle, images(20, ("dog", "sofa")), tmp_path / "t", "some", TaggerSettings(min_area_px=8))
    thresholds = yaml.safe_load((tmp_path / "t" / "tagger.yaml").read_text())["thresholds"]
    assert thresholds[2] == 1.0
    assert max(thresholds[:2]) < 1.0


@pytest.mark.parametrize(("count", "names"), [(0, ("dog",)), (1, ("dog",)), (9, ())])
def test_images_without_things_are_refused(tmp_path: Path, count: int, names: tuple[str, ...]) -> None:
    bundle = load_bundle(build_tiny_bundle(tmp_path / "bundle"))
    with pytest.raises(TrainingError, match="tagger: expected images with things that tiny has words for"):
        train_tagger(bundle, images(count, names), tmp_path / "t", "none", TaggerSettings(min_area_px=8))
    assert not (tmp_path / "t").exists()


def test_a_rare_tag_counts_as_much_as_a_common_one() -> None:
    """One image of fifty has the second tag; its own direction is still found."""
    maps = np.zeros((50, 3, 4), np.float32)
    truth = np.zeros((50, 2), bool)
    truth[:25, 0] = truth[7, 1] = True
    maps[:25, 0, 2] = maps[7, 1, 3] = 1
    weights, offsets = fit(maps, truth, 0.1 * np.eye(2, 3, dtype=np.float32), TaggerSettings(steps=200))
    logits = (weights @ maps).max(axis=2) + offsets
    assert np.all((logits > 0) == truth)
