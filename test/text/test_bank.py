# SPDX-License-Identifier: Apache-2.0
"""The arrays of a text bank, with an encoder that gives every text a direction of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from vl_anomaly_ros.errors import EngineError, VocabularyError
from vl_anomaly_ros.text.bank import TextBankBuilder, detector_matrix
from vl_anomaly_ros.text.vocabulary import KnownClass, Vocabulary
from vl_anomaly_ros.types import FloatArray


class Recorder:
    """Encodes a text as a unit vector and remembers which texts it was asked for."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str]) -> FloatArray:
        self.texts += texts
        return np.stack([self.row(text) for text in texts])

    @staticmethod
    def row(text: str) -> FloatArray:
        vector = np.random.default_rng(list(text.encode())).normal(size=16)
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


VOCABULARY = Vocabulary(
    (KnownClass("road", "ground", ("street", "lane")), KnownClass("path", "ground"), KnownClass("sky")),
    ood_prompts=("animal",),
    candidates=("dog", "animal"),
)


def builder(encode: Recorder) -> TextBankBuilder:
    return TextBankBuilder(encode, ("Lane", "sky", "car"), "<ctx0> {}", ("a {}.", "the {}."))


def test_rows_and_masks() -> None:
    bank = builder(Recorder()).build(VOCABULARY)
    assert bank.text_bank.shape == (4, 9, 16)
    # road: 3 words x (1 learned + 2 hand-written); the others one word
    assert bank.aligned_mask.sum(axis=1).tolist() == [3, 1, 1, 1]
    assert bank.clip_mask.sum(axis=1).tolist() == [6, 2, 2, 2]
    used = bank.aligned_mask + bank.clip_mask
    assert used.max() == 1
    np.testing.assert_allclose(np.linalg.norm(bank.text_bank, axis=2), used, atol=1e-6)
    np.testing.assert_array_equal(bank.text_bank[0, 1], Recorder.row("<ctx0> street"))
    np.testing.assert_array_equal(bank.text_bank[3, 2], Recorder.row("the animal."))
    assert all(getattr(bank, name).dtype == np.float32 for name in bank.__dataclass_fields__)


def test_groups_and_detector_classes() -> None:
    bank = builder(Recorder()).build(VOCABULARY)
    assert bank.group_matrix.tolist() == [[1, 1, 0, 0], [0, 0, 1, 0]]
    # "Lane" is a synonym of road, "car" is not known any more
    assert bank.detector_matrix.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_a_detector_class_that_is_only_an_ood_prompt_explains_nothing() -> None:
    assert detector_matrix(Vocabulary((KnownClass("road"),), ("dog",)), ("dog",)).sum() == 0


def test_candidates_are_the_unit_mean_of_their_hand_written_prompts() -> None:
    bank = builder(Recorder()).build(VOCABULARY)
    mean = Recorder.row("a dog.") + Recorder.row("the dog.")
    np.testing.assert_allclose(bank.candidates[0], mean / np.linalg.norm(mean), rtol=1e-5)


def test_a_changed_vocabulary_encodes_only_new_words() -> None:
    encode = Recorder()
    banks = builder(encode)
    banks.build(VOCABULARY)
    assert len(encode.texts) == len(set(encode.texts))
    encode.texts.clear()
    bank = banks.build(Vocabulary((*VOCABULARY.known, KnownClass("tree")), ("animal",), ("dog",)))
    assert sorted(encode.texts) == ["<ctx0> tree", "a tree.", "the tree."]
    np.testing.assert_array_equal(bank.text_bank[3, 0], Recorder.row("<ctx0> tree"))


def test_without_candidates() -> None:
    assert builder(Recorder()).build(Vocabulary((KnownClass("road"),))).candidates.shape == (0, 16)


def test_refuses_rows_that_are_not_unit_vectors() -> None:
    def broken(texts: Sequence[str]) -> FloatArray:
        return np.full((len(texts), 4), np.nan, np.float32)

    with pytest.raises(EngineError, match="unit vector for '<ctx0> road'"):
        TextBankBuilder(broken, ("road",), "<ctx0> {}", ("a {}.",)).build(Vocabulary((KnownClass("road"),)))


@pytest.mark.parametrize(
    ("vocabulary", "said"),
    [
        (Vocabulary((KnownClass("road"),), candidates=tuple(f"w{i}" for i in range(4096))), "at most 262144 texts"),
        (
            Vocabulary(
                (KnownClass("road", synonyms=tuple(f"r{i}" for i in range(16))),),
                ood_prompts=tuple(f"w{i}" for i in range(256)),
            ),
            "at most 65536 rows, got 257 classes of up to 1717 prompts",
        ),
    ],
)
def test_what_would_take_hours_or_all_memory_is_refused_before_a_text_is_encoded(
    vocabulary: Vocabulary, said: str
) -> None:
    recorder = Recorder()
    templates = tuple(f"a {{}} {i}" for i in range(100))
    with pytest.raises(VocabularyError, match=said):
        TextBankBuilder(recorder, (), "<ctx0> {}", templates).build(vocabulary)
    assert recorder.texts == []
