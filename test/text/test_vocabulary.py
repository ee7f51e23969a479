# SPDX-License-Identifier: Apache-2.0
"""What a vocabulary accepts, and how it refuses the rest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from vl_anomaly_ros.errors import VocabularyError
from vl_anomaly_ros.text.vocabulary import KnownClass, Vocabulary
from vl_anomaly_ros.untrusted import MAX_YAML_BYTES

ROAD = KnownClass("road", synonyms=("street",))


def test_classes_keep_their_order_and_ood_prompts_follow() -> None:
    vocabulary = Vocabulary((ROAD, KnownClass("sky", "far"), KnownClass("hill", "far")), ood_prompts=("animal",))
    assert vocabulary.class_names == ("road", "sky", "hill", "animal")
    assert vocabulary.groups == ("road", "far")
    assert ROAD.words == ("road", "street")


def test_yaml_round_trip() -> None:
    vocabulary = Vocabulary((ROAD, KnownClass("sky", "far")), ("animal",), ("dog", "sofa"), "small")
    assert Vocabulary.from_mapping(vocabulary.to_mapping()) == vocabulary
    text = "known: [{name: road, synonyms: [street]}, sky]\nood_prompts: [animal]\n"
    assert Vocabulary.from_yaml(text) == Vocabulary((ROAD, KnownClass("sky")), ("animal",))


@pytest.mark.parametrize(
    ("word", "approved"), [("Road", True), ("STREET", True), ("animal", True), ("dog", False), ("roa", False)]
)
def test_approved_words_are_known_classes_synonyms_and_ood_prompts(word: str, approved: bool) -> None:
    assert Vocabulary((ROAD,), ("animal",), ("dog", "animal")).approves(word) is approved


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"known": []}, "at least one"),
        ({"known": None}, "at least one"),
        ({"ood_prompts": ["dog"]}, "'known'"),
        ({"known": ["road", "Road"]}, "'Road' twice"),
        ({"known": [{"name": "road", "synonyms": ["street"]}, "street"]}, "'street' twice"),
        ({"known": ["road"], "ood_prompts": ["road"]}, "'road' twice"),
        ({"known": ["road"], "candidates": ["dog", "DOG"]}, "'DOG' twice"),
        ({"known": ["road"], "candidates": "dog"}, "a list"),
        ({"known": "road"}, "a list"),
        ({"known": [["road"]]}, "expected keys"),
        ({"known": ["road"], "canditates": ["dog"]}, "unknown key 'canditates'"),
        ({"known": [{"nam": "road"}]}, "'name'"),
        ({"known": [True]}, "True"),
        ({"known": [{"name": False}]}, "put quotes"),
        ({"known": ["road"], "ood_prompts": [12]}, "OOD prompt"),
        ({"known": [""]}, "''"),
        ({"known": [" road"]}, "' road'"),
        ({"known": ["x" * 65]}, "at most 64"),
        ({"known": ["<ctx0>"]}, "plain text"),
        ({"known": ["{}"]}, "plain text"),
        ({"known": ["ro\nad"]}, "plain text"),
        ({"known": ["\x1b[2Jroad"]}, "plain text"),
        ({"known": ["ro\u202ead"]}, "plain text"),
        ({"known": ["road"], "name": "a\nb"}, "name of the vocabulary"),
        ({"known": [{"name": "road", "group": "a\x00b"}]}, "group of known class 'road'"),
        ({"known": [f"class {i}" for i in range(257)]}, "at most 256"),
        ({"known": ["road"], "ood_prompts": [f"w{i}" for i in range(257)]}, "at most 256"),
        ({"known": ["road"], "candidates": [f"w{i}" for i in range(4097)]}, "at most 4096"),
        ({"known": [{"name": "road", "synonyms": [f"w{i}" for i in range(17)]}]}, "at most 16"),
        ({"known": ["road"], "name": 7}, "name of the vocabulary"),
        (None, "expected keys"),
        ([1], "expected keys"),
    ],
)
def test_refused_with_a_sentence_that_says_which(values: Any, said: str) -> None:
    with pytest.raises(VocabularyError) as caught:
        Vocabulary.from_mapping(values)
    assert said in str(caught.value)


def test_limits_themselves_are_allowed() -> None:
    known = [{"name": f"class {i}", "synonyms": [f"s{i} {j}" for j in range(16)]} for i in range(256)]
    assert len(Vocabulary.from_mapping({"known": known}).known) == 256


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("known: [road", "syntax error"),
        ("!!python/object/apply:os.getcwd []", "syntax error"),
        (b"known: [\xff]", "syntax error"),
        ("known: [" + "[" * 5000, "at most 16 levels"),
        ("a: &a [1]\nknown: *a", "an anchor or alias"),
        ("known: [road]\nknown: [sky]", "'known' stands twice"),
        ("known:\n" + "- a\n" * 200_000, "at most 50000 keys and values"),
        ("known:\n" + "\n".join(f"- w{i}" for i in range(1000)), "known classes: expected at most 256, got 1000"),
        ("x" * (MAX_YAML_BYTES + 1), "at most"),
    ],
)
def test_yaml_from_outside_is_not_trusted(text: str | bytes, said: str) -> None:
    with pytest.raises(VocabularyError, match=said):
        Vocabulary.from_yaml(text)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text("known: [road]")
    assert Vocabulary.from_file(tmp_path / "v.yaml").known_names == ("road",)
    with pytest.raises(VocabularyError, match="readable file"):
        Vocabulary.from_file(tmp_path / "absent.yaml")
    (tmp_path / "huge.yaml").touch()
    os.truncate(tmp_path / "huge.yaml", 1 << 30)  # takes no space on the disk, but would take 1 GB of memory
    with pytest.raises(VocabularyError, match=r"huge\.yaml: expected at most 1048576 bytes, got 1073741824"):
        Vocabulary.from_file(tmp_path / "huge.yaml")


def test_a_million_words_are_refused_before_they_are_looked_at() -> None:
    with pytest.raises(VocabularyError, match="OOD prompts: expected at most 256, got 1000000"):
        Vocabulary.from_mapping({"known": ["road"], "ood_prompts": [f"w{i}" for i in range(1_000_000)]})
    with pytest.raises(VocabularyError, match="known classes: expected at most 256, got 1000000"):
        Vocabulary.from_mapping({"known": ["road"] * 1_000_000})
