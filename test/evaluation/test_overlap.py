# SPDX-License-Identifier: Apache-2.0
"""Intersection over union and names, against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.evaluation.examples import Truth
from vl_anomaly_ros.evaluation.name_accuracy import SYNONYMS, NameAccuracy, same_meaning
from vl_anomaly_ros.evaluation.overlap import KnownOverlap, OpenWorldOverlap
from vl_anomaly_ros.text.vocabulary import KnownClass, Vocabulary

VOCABULARY = Vocabulary((KnownClass("road", synonyms=("street",)), KnownClass("Sky"), KnownClass("car")))
CLASSES = ("sky", "STREET", "train")  # in another order; a synonym; one without a word

# One row: 4 road, 3 sky, 1 train, 3 anomaly, 1 void.
SEMANTIC = np.array([[1, 1, 1, 1, 0, 0, 0, 2, 255, 255, 255, 255]], np.uint8)
LABEL = np.array([[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 255]], np.uint8)
CLASS_MAP = np.array([[0, 0, 0, 1, 1, 1, 2, 0, 0, 0, 2, 2]])
SCORE = np.array([[0.1, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.1, 0.9]])
TRUTH = Truth(LABEL, SEMANTIC, ())


def test_known_classes_are_matched_by_their_words() -> None:
    known = KnownOverlap(CLASSES, VOCABULARY)
    assert known.unmatched == ["train"]
    known.update(TRUTH, CLASS_MAP)
    # road: 3 of 4 hit, no other pixel called road (the train and the anomalies do not count): 3 / 4.
    # sky: 2 of 3 hit, 1 road pixel called sky: 2 / 4. No pixel is truly a car.
    assert known.compute() == pytest.approx((3 / 4 + 2 / 4) / 2)


def test_the_unknown_is_one_class_more() -> None:
    known = KnownOverlap(CLASSES, VOCABULARY)
    overlap = OpenWorldOverlap(known, 3, threshold=0.9)
    overlap.update(TRUTH, CLASS_MAP, SCORE)
    # road: 2 hit (1 of 4 is called unknown, 1 sky), nothing else is called road: 2 / 4.
    # sky: 2 hit of 3, 1 road pixel called sky: 2 / 4.
    # unknown: 2 of 3 hit, 1 road pixel called unknown (the train and void do not count): 2 / 4.
    with_unknown, known_alone = overlap.compute()
    assert with_unknown == pytest.approx((2 / 4 + 2 / 4 + 2 / 4) / 3)
    assert known_alone == pytest.approx(2 / 4)


def test_an_anomaly_that_passes_for_a_known_class_counts_against_it() -> None:
    known = KnownOverlap(CLASSES, VOCABULARY)
    overlap = OpenWorldOverlap(known, 3, threshold=2.0)  # nothing is unknown
    overlap.update(TRUTH, CLASS_MAP, SCORE)
    # road: 3 hit of 4, 2 anomalies called road: 3 / 6. sky: 2 / 4. unknown: 0.
    assert overlap.compute() == pytest.approx(((3 / 6 + 2 / 4 + 0) / 3, (3 / 6 + 2 / 4) / 2))


def test_without_labelled_classes_there_are_known_and_unknown() -> None:
    known = KnownOverlap((), VOCABULARY)
    overlap = OpenWorldOverlap(known, 1, threshold=0.9)
    truth = Truth(LABEL, None, ())
    known.update(truth, CLASS_MAP)
    overlap.update(truth, CLASS_MAP, SCORE)
    # known: 6 of 8 hit, 1 anomaly called known: 6 / 9. unknown: 2 of 3 hit, 2 known called unknown: 2 / 5.
    assert overlap.compute() == pytest.approx(((6 / 9 + 2 / 5) / 2, 6 / 9))
    assert known.compute() is None


def test_nothing_is_none() -> None:
    known = KnownOverlap(CLASSES, VOCABULARY)
    assert known.compute() is None
    assert OpenWorldOverlap(known, 3, 0.5).compute() == (None, None)


def test_names_are_right_by_the_word_or_by_its_meaning() -> None:
    names = NameAccuracy()
    assert names.shares() == {"exact": None, "synonym": None, "regions": 0}
    for true, given in (("sofa", "Sofa"), ("sofa", "couch"), ("dog", "sofa"), ("gizmo", "gizmo")):
        names.update(true, given)
    assert names.shares() == {"exact": 0.5, "synonym": 0.75, "regions": 4}


def test_a_word_has_one_meaning() -> None:
    words = [word for one in SYNONYMS for word in one]
    assert len(words) == len(set(words))
    assert all(word == word.casefold() for word in words)
    assert same_meaning("tyre", "Tire")
    assert not same_meaning("unheard", "of")
