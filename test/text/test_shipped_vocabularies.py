# SPDX-License-Identifier: Apache-2.0
"""config/vocabularies: what is shipped loads, is large enough, and says what it means to say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vl_anomaly_ros.text.vocabulary import Vocabulary

FOLDER = Path(__file__).parents[2] / "config" / "vocabularies"
CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""In the order of the training ids."""
MERGED = [
    {"person", "rider"}, {"car", "truck", "bus", "train"}, {"motorcycle", "bicycle"}, {"building", "wall", "fence"},
    {"pole", "traffic light", "traffic sign"}, {"vegetation", "terrain"}, {"road", "sidewalk"}, {"sky"},
]  # fmt: skip


@pytest.fixture(params=["cityscapes", "airside"])
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    return Vocabulary.from_file(FOLDER / f"{request.param}.yaml")


def groups(vocabulary: Vocabulary) -> list[set[str]]:
    return [{item.name for item in vocabulary.known if item.group == group} for group in vocabulary.groups]


def test_there_is_no_other_one() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == ["airside.yaml", "cityscapes.yaml"]


def test_the_dictionary_is_large_and_names_nothing_known(vocabulary: Vocabulary) -> None:
    assert len(vocabulary.candidates) >= 300
    assert len(vocabulary.ood_prompts) >= 15
    assert [word for word in vocabulary.candidates if vocabulary.approves(word)] == []


def test_no_candidate_is_another_one_in_the_plural_or_written_otherwise(vocabulary: Vocabulary) -> None:
    words = [*vocabulary.candidates, *(word for item in vocabulary.known for word in item.words)]
    reduced = [re.sub(r"(s|es)$", "", re.sub(r"[^a-z]", "", word.casefold())) for word in words]
    assert sorted(word for word in set(reduced) if reduced.count(word) > 1) == []


def test_words_are_plain_english_of_a_few_words(vocabulary: Vocabulary) -> None:
    for word in vocabulary.candidates:
        assert word.isascii()
        assert len(word.split()) <= 5


def test_cityscapes_has_its_classes_and_merge_groups() -> None:
    vocabulary = Vocabulary.from_file(FOLDER / "cityscapes.yaml")
    assert vocabulary.known_names == CITYSCAPES
    assert sorted(map(sorted, groups(vocabulary))) == sorted(map(sorted, MERGED))
    assert all(item.synonyms for item in vocabulary.known if item.name != "sky")


def test_airside_merges_what_is_easily_confused_and_keeps_people_and_aircraft_apart() -> None:
    vocabulary = Vocabulary.from_file(FOLDER / "airside.yaml")
    found = groups(vocabulary)
    assert {"apron", "service road", "taxiway", "stand marking", "ground light"} in found
    assert {"aircraft", "helicopter"} in found
    assert {"ground crew", "passenger"} in found
    for word in ("pushback tug", "belt loader", "wheel chock", "safety cone", "baggage cart"):
        assert word in vocabulary.known_names
    for word in ("bolt", "rag", "seagull", "suitcase", "nose wheel", "fallen traffic cone"):
        assert word in vocabulary.candidates
