# SPDX-License-Identifier: Apache-2.0
"""Names that images suggest: when they are added, why not, and for how long."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vl_anomaly_ros.config import Config, NamingConfig, with_values
from vl_anomaly_ros.perception.growth import Growth
from vl_anomaly_ros.text.bank import Candidates, TextBank
from vl_anomaly_ros.text.vocabulary import KnownClass, Vocabulary
from vl_anomaly_ros.types import AnomalyLabel, FloatArray, IntArray, NameSource, Region

VOCABULARY = Vocabulary((KnownClass("road"), KnownClass("car")), ("animal",), ("dog", "sofa", "automobile", "animal"))
SECOND = 1_000_000_000
PROBABILITY = np.array([[0.1] * 10, [0.2] * 10, [0.4] * 5 + [0.6] * 5], np.float32)


def bank() -> TextBank:
    """Every word an axis of its own, but for the automobile, which is nearly a car."""
    axes = np.eye(6, dtype=np.float32)
    candidates = np.stack([axes[3], axes[4], 0.98 * axes[1] + 0.199 * axes[5], axes[2]])
    text = np.stack([axes[0], axes[1], axes[2]])[:, None]
    ones = np.ones((3, 1), np.float32)
    return TextBank(text, ones, ones, np.eye(2, 3, dtype=np.float32), np.eye(3, 2, dtype=np.float32), candidates)


BANK = bank()
CANDIDATES = Candidates(VOCABULARY.candidates, BANK.candidates)


def region(name: str, *, approved: bool = False) -> Region:
    label = AnomalyLabel(name, NameSource.DICTIONARY, 0.9, approved)
    return Region(1, (0, 2, 10, 3), 10, (4.5, 2.0), 0.9, (0.9, 0.9, 0.9), label)


class Camera:
    """Sees things, one image a second."""

    def __init__(self, **settings: Any) -> None:
        self.growth = Growth()
        self.config: NamingConfig = with_values(
            Config(), {f"naming.growth_{name}": value for name, value in settings.items()}
        ).naming
        self.asked: list[tuple[str, ...]] = []
        self.second = 0
        self.takes = 0  # pixels that a known class explains well and yet the last word takes
        self.bank = BANK

    def segment(self, rows: FloatArray) -> IntArray:
        """The whole last row is the last word; of the first, as many pixels as wished."""
        words = [VOCABULARY.candidates[int((BANK.candidates @ row).argmax())] for row in rows]
        self.asked.append(tuple(words))
        class_map = np.zeros(PROBABILITY.shape, np.int32)
        class_map[2] = class_map[0, : self.takes] = len(VOCABULARY.known) + len(words) - 1
        return class_map

    def sees(self, *names: str, approved: bool = False, after_s: int = 1) -> tuple[str, ...]:
        self.second += after_s
        named = [region(name, approved=approved) for name in names]
        fine = self.growth.look(
            self.second * SECOND, named, PROBABILITY, 0.5, VOCABULARY, self.bank, CANDIDATES, self.config, self.segment
        )
        assert np.all((fine.places >= 0) <= (PROBABILITY >= 0.5))
        return fine.words


def test_a_name_is_added_once_enough_images_suggested_it() -> None:
    camera = Camera(min_images=3)
    assert [camera.sees("dog") for _ in range(3)] == [(), (), ("dog",)]
    assert camera.asked == [("dog",)]
    assert camera.growth.words == ("dog",)


def test_the_pixels_of_a_word_are_anomalous_ones() -> None:
    camera = Camera(min_images=1, max_takeover=0.5)
    camera.takes = 3  # and what is neither explained well nor anomalous
    fine = camera.growth.look(
        SECOND, [region("dog")], PROBABILITY, 0.5, VOCABULARY, BANK, CANDIDATES, camera.config, camera.segment
    )
    np.testing.assert_array_equal(fine.places, np.where(PROBABILITY >= 0.5, 0, -1))


def test_without_names_nothing_is_segmented_again() -> None:
    camera = Camera(min_images=1)
    assert camera.sees() == camera.sees("") == ()
    assert camera.asked == []


def test_an_added_word_is_looked_for_where_no_region_bears_its_name() -> None:
    camera = Camera(min_images=1)
    camera.sees("dog")
    assert camera.sees() == ("dog",)


def test_words_of_the_vocabulary_are_there_already() -> None:
    camera = Camera(min_images=1)
    assert camera.sees("animal", approved=True) == ()
    assert camera.asked == []


def test_what_is_too_close_to_a_known_class_is_not_added() -> None:
    camera = Camera(min_images=1, max_similarity=0.95)
    assert camera.sees("automobile") == ()
    assert camera.asked == []
    assert camera.growth.refused == {"automobile": "too close to car (0.98)"}
    assert Camera(min_images=1, max_similarity=0.99).sees("automobile") == ("automobile",)


def test_what_takes_pixels_from_a_known_class_is_not_added_and_not_tried_again() -> None:
    camera = Camera(min_images=1, max_takeover=0.05)
    camera.takes = 2  # of 20
    assert [camera.sees("sofa"), camera.sees("sofa")] == [(), ()]
    assert camera.asked == [("sofa",)]
    assert camera.growth.refused == {"sofa": "takes 10.0% of what known classes explain well"}
    camera.takes = 1
    assert camera.sees("dog") == ("dog",)


def test_a_word_is_forgotten_when_it_is_not_seen() -> None:
    camera = Camera(min_images=2, max_age_s=3.0)
    camera.sees("dog")
    assert camera.sees("dog", after_s=3) == ("dog",)
    assert camera.sees("sofa", after_s=3) == ("dog",)
    assert camera.sees("sofa", after_s=1) == ("sofa",)
    assert camera.growth.words == ("sofa",)


def test_at_most_so_many_words() -> None:
    camera = Camera(min_images=1, max_words=1)
    assert camera.sees("dog") == ("dog",)
    camera.sees("sofa")
    assert camera.growth.words == ("dog",)
    assert Camera(min_images=1, max_words=0).sees("dog") == ()


@pytest.mark.parametrize("change", ["vocabulary", "time"])
def test_a_new_vocabulary_or_a_recording_from_its_start_forgets_everything(change: str) -> None:
    camera = Camera(min_images=1, max_age_s=2.0)
    camera.second = 100
    camera.sees("dog")
    if change == "vocabulary":
        camera.bank = bank()
    else:
        camera.second = 10
    assert camera.sees() == ()
    assert camera.growth.words == ()


def test_the_other_cameras_images_may_come_a_little_later() -> None:
    camera = Camera(min_images=1, max_age_s=2.0)
    camera.sees("dog", after_s=10)
    assert camera.sees(after_s=-1) == ("dog",)
