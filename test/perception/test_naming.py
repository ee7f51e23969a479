# SPDX-License-Identifier: Apache-2.0
"""Names of regions, from features placed by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.perception.areas import cell_of
from vl_anomaly_ros.perception.naming import (
    name_regions,
    pooled_features,
)
from vl_anomaly_ros.perception.regions import Regions, find_regions
from vl_anomaly_ros.perception.segmentation import UNNAMED, extended_names, extended_segmentation
from vl_anomaly_ros.text.bank import Candidates
from vl_anomaly_ros.text.vocabulary import KnownClass, Vocabulary
from vl_anomaly_ros.types import AnomalyLabel, FloatArray, IntArray, NameSource, Region, ScoreMap

VOCABULARY = Vocabulary((KnownClass("road", synonyms=("street",)),), ("animal",), ("dog", "sofa", "animal", "street"))
ROWS = np.eye(4, 5, dtype=np.float32)
CANDIDATES = Candidates(VOCABULARY.candidates, ROWS)


def regions_of(instances: IntArray) -> Regions:
    """Regions with exactly these ids, by area: the larger the value the smaller the area must be."""
    found = find_regions(
        ScoreMap(
            (instances > 0).astype(np.float32),
            np.zeros((3, 1, 1), np.float32),
            np.zeros((1, 1), np.int32),
            np.zeros((1, 1, 1), np.float32),
            *instances.shape[::-1],
        ),
        threshold=0.5,
        min_area_px=1,
        max_regions=100,
    )
    np.testing.assert_array_equal(found.instances, instances)
    return found


@pytest.fixture
def two() -> Regions:
    """Region 1: left half but for its last column and row 0; region 2: a square to the right."""
    instances = np.zeros((8, 16), np.int32)
    instances[1:, :7] = 1
    instances[2:5, 10:13] = 2
    return regions_of(instances)


def features(left: FloatArray, right: FloatArray) -> FloatArray:
    """(5, 1, 2): one feature for each half of the image."""
    return np.stack([left, right], axis=1)[:, None].astype(np.float32)


def named(
    regions: Regions, clip_features: FloatArray, *, min_confidence: float = 0.5, runners_up: int = 2
) -> tuple[Region, ...]:
    return name_regions(
        regions,
        clip_features,
        VOCABULARY,
        CANDIDATES,
        logit_scale=10,
        min_confidence=min_confidence,
        runners_up=runners_up,
    )


def test_a_kept_name_goes_before_one_that_is_hardly_better(two: Regions) -> None:
    """Dog and sofa take turns at being best; what was kept stays, unless the other one is much better."""
    close = features(left=np.array([1.0, 0.98, 0, 0, 0]), right=np.array([1.0, 0.2, 0, 0, 0]))
    labels = [
        region.label
        for region in name_regions(
            two,
            close,
            VOCABULARY,
            CANDIDATES,
            logit_scale=10,
            min_confidence=0.1,
            runners_up=2,
            kept=["sofa"],
            keep=0.5,
        )
    ]
    assert [label.name for label in labels] == ["sofa", "dog"]
    assert labels[0].confidence < labels[0].runners_up[0][1]
    assert [label.runners_up[0][0] for label in labels] == ["dog", "sofa"]


def extended(
    class_map: IntArray, found: Regions, regions: tuple[Region, ...], known: tuple[str, ...]
) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    return extended_segmentation(class_map, found, regions, known), extended_names(regions, known)[0]


def unit(index: int) -> FloatArray:
    return np.asarray(np.eye(5)[index], np.float32)


def test_each_region_takes_the_candidate_of_its_own_features(two: Regions) -> None:
    first, second = named(two, features(3 * unit(0), 9 * unit(1)))
    assert (first.label.name, second.label.name) == ("dog", "sofa")
    assert first.label.source is NameSource.DICTIONARY
    assert not first.label.approved
    # cosine 1 against three cosines 0, times 10
    assert first.label.confidence == pytest.approx(np.exp(10) / (np.exp(10) + 3))
    assert replace(first, label=AnomalyLabel()) == two.regions[0]


@pytest.mark.parametrize("index", [2, 3])
def test_words_of_the_vocabulary_are_approved(two: Regions, index: int) -> None:
    label = named(two, features(unit(index), unit(0)))[0].label
    assert label.name == VOCABULARY.candidates[index]
    assert label.source is NameSource.VOCABULARY
    assert label.approved


def test_an_uncertain_name_is_not_given_but_leads_the_runners_up(two: Regions) -> None:
    between = unit(0) + 0.9 * unit(1)
    label = named(two, features(between, unit(1)), min_confidence=0.9)[0].label
    assert (label.name, label.source, label.approved, label.confidence) == ("", NameSource.NONE, False, 0.0)
    assert [name for name, _ in label.runners_up] == ["dog", "sofa"]
    assert 0.9 > label.runners_up[0][1] > label.runners_up[1][1] > 0


def test_runners_up_follow_in_order_and_number(two: Regions) -> None:
    graded = np.array([0.5, 0.9, 0.1, 0.4, 0])
    label = named(two, features(graded, graded), min_confidence=0.1, runners_up=3)[0].label
    assert label.name == "sofa"
    assert [name for name, _ in label.runners_up] == ["dog", "street", "animal"]
    assert named(two, features(graded, graded), min_confidence=0.1, runners_up=0)[0].label.runners_up == ()


@pytest.mark.parametrize(("min_confidence", "names"), [(0.1, ["sofa"]), (0.99, ["dog", "sofa"])])
def test_a_short_dictionary_is_all_runners_up(two: Regions, min_confidence: float, names: list[str]) -> None:
    label = name_regions(
        two,
        features(unit(0), unit(1)),
        VOCABULARY,
        Candidates(("dog", "sofa"), ROWS[:2]),
        logit_scale=1,
        min_confidence=min_confidence,
        runners_up=9,
    )[0].label
    assert [name for name, _ in label.runners_up] == names


@pytest.mark.parametrize("rows", [ROWS[:3], ROWS[:, :4], np.eye(4, 6, dtype=np.float32)])
def test_candidates_that_do_not_fit_are_refused(two: Regions, rows: FloatArray) -> None:
    with pytest.raises(DataError, match="candidates: expected 4x5 float32"):
        name_regions(
            two,
            features(unit(0), unit(1)),
            VOCABULARY,
            Candidates(VOCABULARY.candidates, rows),
            logit_scale=1,
            min_confidence=0,
            runners_up=1,
        )


@pytest.mark.parametrize("number", [1, 5, 30])
def test_confidence_is_the_softmax_over_all_candidates(two: Regions, number: int) -> None:
    rng = np.random.default_rng(number)
    rows = rng.normal(size=(number, 7)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    words = tuple(f"word {i}" for i in range(number))
    clip_features = rng.normal(size=(7, 3, 5)).astype(np.float32)
    logits = 13 * pooled_features(two, clip_features) @ rows.T.astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    candidates = Candidates(words, rows)
    found = name_regions(two, clip_features, VOCABULARY, candidates, logit_scale=13, min_confidence=0, runners_up=3)
    for region, confidences in zip(found, expected):
        order = np.argsort(-confidences, kind="stable")[:4]
        ranked = ((region.label.name, region.label.confidence), *region.label.runners_up)
        assert [name for name, _ in ranked] == [words[i] for i in order]
        assert [confidence for _, confidence in ranked] == pytest.approx(confidences[order], rel=1e-9)


def test_equally_good_names_go_by_the_dictionary(two: Regions) -> None:
    label = named(two, features(unit(4), unit(4)), min_confidence=0)[0].label
    assert label.name == "dog"
    assert label.confidence == pytest.approx(0.25)


def test_without_a_dictionary_nothing_is_named(two: Regions) -> None:
    result = name_regions(
        two,
        features(unit(0), unit(1)),
        VOCABULARY,
        Candidates((), np.zeros((0, 5), np.float32)),
        logit_scale=10,
        min_confidence=0,
        runners_up=3,
    )
    assert result == two.regions


def test_pooling_averages_before_it_normalises() -> None:
    """2 cells with 6 and 3 pixels of the region; features of length 1 and 4 count by pixels times length."""
    instances = np.zeros((3, 6), np.int32)
    instances[:, 1:4] = 1
    pooled = pooled_features(regions_of(instances), features(unit(0), 4 * unit(1)))
    np.testing.assert_allclose(pooled[0], np.array([6, 12, 0, 0, 0]) / np.hypot(6, 12), rtol=1e-6)


def test_features_of_zero_length_name_nothing(two: Regions) -> None:
    label = named(two, np.zeros((5, 1, 2), np.float32))[0].label
    assert label.source is NameSource.NONE


def test_segmentation_takes_anomaly_names_after_the_known_classes(two: Regions) -> None:
    class_map = np.ones((8, 16), np.int32)
    regions = named(two, features(unit(0), unit(4)))
    segmentation, names = extended(class_map, two, regions, ("road", "sky"))
    assert names == ("road", "sky", "dog", UNNAMED)
    assert segmentation.dtype == np.uint8
    np.testing.assert_array_equal(segmentation == 2, two.instances == 1)
    np.testing.assert_array_equal(segmentation == 3, two.instances == 2)
    assert np.all(segmentation[two.mask == 0] == 1)


def test_two_regions_of_one_name_share_an_index(two: Regions) -> None:
    regions = named(two, features(unit(1), unit(1)))
    segmentation, names = extended(np.zeros((8, 16), np.int32), two, regions, ("road",))
    assert names == ("road", "sofa")
    assert np.all(segmentation[two.mask != 0] == 1)


def test_an_anomaly_never_becomes_a_known_class(two: Regions) -> None:
    regions = named(two, features(unit(3), unit(3)))
    segmentation, names = extended(np.zeros((8, 16), np.int32), two, regions, ("street",))
    assert names == ("street", "street")
    assert np.all(segmentation[two.mask != 0] == 1)


def test_areas_beyond_the_maximum_get_no_name() -> None:
    probability = np.array([[1, 1, 1, 0, 1, 1, 0, 1]], np.float32)
    score_map = ScoreMap(
        probability, np.zeros((3, 1, 1), np.float32), np.zeros((1, 1), np.int32), np.zeros((5, 1, 1), np.float32), 8, 1
    )
    found = find_regions(score_map, threshold=0.5, min_area_px=1, max_regions=2)
    regions = named(found, unit(0)[:, None, None])
    assert [region.label.name for region in regions] == ["dog", ""]
    assert regions[1].label == AnomalyLabel()
    segmentation, names = extended(score_map.class_map, found, regions, ("road",))
    assert names == ("road", "dog", UNNAMED)
    assert segmentation.tolist() == [[1, 1, 1, 0, 2, 2, 0, 2]]


@pytest.mark.parametrize(("width", "height"), [(6, 4), (7, 5), (2, 1), (1, 1), (1920, 1080)])
def test_each_pixel_has_the_class_of_the_cell_that_holds_its_centre(width: int, height: int) -> None:
    found = find_regions(
        ScoreMap(
            np.zeros((height, width), np.float32),
            np.zeros((3, 2, 3), np.float32),
            np.zeros((2, 3), np.int32),
            np.zeros((1, 1, 1), np.float32),
            width,
            height,
        ),
        threshold=0.5,
        min_area_px=1,
        max_regions=1,
    )
    class_map = np.arange(6, dtype=np.int32).reshape(2, 3)
    segmentation, _ = extended(class_map, found, (), tuple("abcdef"))
    rows, columns = cell_of(height, 2), cell_of(width, 3)
    np.testing.assert_array_equal(segmentation, class_map[np.ix_(rows, columns)])


def test_many_classes_need_two_bytes(two: Regions) -> None:
    known = tuple(f"class {index}" for index in range(256))
    segmentation, names = extended(np.full((8, 16), 255, np.int32), two, named(two, features(unit(0), unit(0))), known)
    assert segmentation.dtype == np.uint16
    assert names[segmentation[4, 4]] == "dog"
    assert names[segmentation[0, 0]] == "class 255"
