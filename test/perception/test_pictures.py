# SPDX-License-Identifier: Apache-2.0
"""Pictures that are made when they are read are those of the frame, whenever that is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vl_anomaly_ros.perception.pictures import PicturesOnDemand
from vl_anomaly_ros.perception.regions import find_regions
from vl_anomaly_ros.perception.segmentation import extended_names, extended_segmentation
from vl_anomaly_ros.perception.upsampling import upsampled
from vl_anomaly_ros.types import AnomalyLabel, FrameResult, GivenPictures, ScoreMap

NAMES = ("road", "sky")
WIDTH, HEIGHT = 131, 77


@pytest.fixture
def pictures() -> PicturesOnDemand:
    rng = np.random.default_rng(0)
    probability = rng.random((9, 14)).astype(np.float32)
    class_map = rng.integers(0, 2, (9, 14)).astype(np.int32)
    score_map = ScoreMap(probability, np.stack([probability] * 3), class_map, probability[None], WIDTH, HEIGHT)
    found = find_regions(score_map, threshold=0.6, min_area_px=20, max_regions=9)
    assert len(found.regions) > 3
    named = tuple(replace(region, label=AnomalyLabel("dog" if region.id % 2 else "")) for region in found.regions)
    return PicturesOnDemand(probability, class_map, found, named, NAMES)


def test_each_is_of_the_images_size_and_says_the_same(pictures: PicturesOnDemand) -> None:
    probability = upsampled(pictures.coarse_probability, WIDTH, HEIGHT)
    np.testing.assert_array_equal(pictures.probability, probability)
    np.testing.assert_array_equal(pictures.mask, (pictures.instances > 0) * np.uint8(255))
    assert np.all(probability[pictures.mask > 0] >= np.float32(0.6))
    assert pictures.mask.dtype == np.uint8
    class_names, indices = extended_names(pictures.named, NAMES)
    assert class_names == ("road", "sky", "dog", "unknown")
    for region, index in zip(pictures.named, indices):
        assert np.all(pictures.segmentation[pictures.instances == region.id] == index)
    assert set(np.unique(pictures.segmentation[pictures.mask == 0])) == {0, 1}
    assert all(
        picture.shape == (HEIGHT, WIDTH)
        for picture in (pictures.probability, pictures.mask, pictures.instances, pictures.segmentation)
    )


def test_each_is_made_once_and_not_before_it_is_read(
    pictures: PicturesOnDemand, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(*args: object) -> object:
        calls.append(args)
        return extended_segmentation(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("vl_anomaly_ros.perception.pictures.extended_segmentation", counted)
    result = FrameResult(frame=None, ok=True, pictures=pictures)  # type: ignore[arg-type]
    again = replace(result, engine="other")
    assert not calls
    assert result.segmentation is result.segmentation is again.segmentation
    assert result.probability is again.probability
    assert result.mask is again.mask
    assert len(calls) == 1


def test_pictures_that_are_given_are_passed_on() -> None:
    given = GivenPictures(probability=np.ones((2, 3), np.float32), instances=np.ones((2, 3), np.uint16))
    result = FrameResult(frame=None, ok=True, pictures=given)  # type: ignore[arg-type]
    assert result.probability is given.probability
    assert result.instances is given.instances
    assert result.mask.size == result.segmentation.size == 0
