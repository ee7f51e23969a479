# SPDX-License-Identifier: Apache-2.0
"""The text bank: a vocabulary as the arrays that the head graph takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vl_anomaly_ros.errors import EngineError, VocabularyError
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.types import FloatArray

MAX_TEXTS = 1 << 18
MAX_ROWS = 1 << 16  # of the bank, padding included

TextEncoder = Callable[[Sequence[str]], FloatArray]


@dataclass(frozen=True)
class TextBank:
    """Embeddings of a vocabulary's prompts, and what they belong to; all float32.

    C classes (known, then OOD), R prompts a class, G merge groups, K detector classes, N candidates, D embedding size.

    Attributes:
        text_bank: (C, R, D) unit rows; rows that pad a class with fewer prompts are zero.
        aligned_mask: (C, R) 1 where the row is a prompt with learned context.
        clip_mask: (C, R) 1 where the row is a hand-written prompt for frozen CLIP.
        group_matrix: (G, C) 1 where class c belongs to known group g; OOD classes belong to none.
        detector_matrix: (C, K) 1 where detector class k is known class c.
        candidates: (N, D) unit rows, the mean over the hand-written prompts of each, in the dictionary's order.
    """

    text_bank: FloatArray
    aligned_mask: FloatArray
    clip_mask: FloatArray
    group_matrix: FloatArray
    detector_matrix: FloatArray
    candidates: FloatArray


@dataclass(frozen=True)
class Candidates:
    """Names that an anomaly may be given.

    Attributes:
        words: (N,) without duplicates.
        rows: (N, D) float32 unit rows, the mean over the hand-written prompts of each.
        tagged: those that a tagger saw in the image; the others are of the dictionary.
    """

    words: tuple[str, ...]
    rows: FloatArray
    tagged: frozenset[str] = frozenset()

    def row(self, word: str) -> FloatArray:
        """(D,) of one of them."""
        return np.asarray(self.rows[self.words.index(word)])

    def with_tags(self, words: Sequence[str], rows: FloatArray) -> Candidates:
        """Together with a tagger's words; of those that both know, the tagger is the source."""
        tags = {word.casefold() for word in words}
        others = [index for index, word in enumerate(self.words) if word.casefold() not in tags]
        return Candidates(
            (*words, *(self.words[index] for index in others)),
            np.concatenate([rows, self.rows[others]]),
            frozenset(words),
        )


class TextBankBuilder:
    """Builds banks and remembers embeddings, so that a changed vocabulary encodes only what is new in it.

    Args:
        encode: texts to (N, D) float32 unit rows.
        detector_classes: names of the classes that the detector was trained on.
        learned_prompt: such as "<ctx0> <ctx1> {}".
        templates: hand-written prompts, such as "a photo of a {}.".
    """

    def __init__(
        self, encode: TextEncoder, detector_classes: Sequence[str], learned_prompt: str, templates: Sequence[str]
    ) -> None:
        self._encode = encode
        self._detector_classes = tuple(detector_classes)
        self._learned_prompt = learned_prompt
        self._templates = tuple(templates)
        self._cache: dict[str, FloatArray] = {}
        self._lock = threading.Lock()

    def build(self, vocabulary: Vocabulary) -> TextBank:
        """The bank of `vocabulary`.

        Raises:
            VocabularyError: words times prompts are more than can be encoded or kept; the builder is then unchanged.
            EngineError: the encoder gave rows that are not of unit length; the builder is then unchanged.
        """
        classes = [item.words for item in vocabulary.known] + [(word,) for word in vocabulary.ood_prompts]
        aligned = [[self._learned_prompt.format(word) for word in words] for words in classes]
        clip = [self._hand_prompts(words) for words in classes]
        named = [self._hand_prompts((word,)) for word in vocabulary.candidates]
        if (count := sum(map(len, (*aligned, *clip, *named)))) > MAX_TEXTS:
            raise VocabularyError(
                f"vocabulary: expected at most {MAX_TEXTS} texts (words times {len(self._templates)} prompts), got "
                f"{count}; leave out candidates or synonyms"
            )
        rows = max(len(a) + len(c) for a, c in zip(aligned, clip))
        if len(classes) * rows > MAX_ROWS:
            raise VocabularyError(
                f"vocabulary: expected at most {MAX_ROWS} rows, got {len(classes)} classes of up to {rows} prompts; "
                "give the class with the most words fewer synonyms"
            )
        with self._lock:
            embeddings = self._embeddings(text for texts in (*aligned, *clip, *named) for text in texts)

        size = len(next(iter(embeddings.values())))
        text_bank = np.zeros((len(classes), rows, size), np.float32)
        aligned_mask = np.zeros((len(classes), rows), np.float32)
        clip_mask = np.zeros((len(classes), rows), np.float32)
        for index, (a, c) in enumerate(zip(aligned, clip)):
            text_bank[index, : len(a) + len(c)] = [embeddings[text] for text in (*a, *c)]
            aligned_mask[index, : len(a)] = 1
            clip_mask[index, len(a) : len(a) + len(c)] = 1
        candidates = np.zeros((len(named), size), np.float32)
        for index, texts in enumerate(named):
            mean = np.mean([embeddings[text] for text in texts], axis=0)
            candidates[index] = mean / max(float(np.linalg.norm(mean)), 1e-6)
        return TextBank(
            text_bank=text_bank,
            aligned_mask=aligned_mask,
            clip_mask=clip_mask,
            group_matrix=group_matrix(vocabulary),
            detector_matrix=detector_matrix(vocabulary, self._detector_classes),
            candidates=candidates,
        )

    def words(self, words: Sequence[str]) -> FloatArray:
        """(N, D) float32 unit rows of words, as candidates have them; nothing of the vocabulary changes.

        Raises:
            EngineError: the encoder gave rows that are not of unit length.
        """
        prompts = [self._hand_prompts((word,)) for word in words]
        rows = self._encode([text for texts in prompts for text in texts])
        means = rows.reshape(len(words), len(self._templates), -1).mean(axis=1)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        if not (lengths > 0).all():
            raise EngineError("text encoder: expected unit vectors for a tagger's words, got NaN or zeros")
        return np.asarray(means / lengths, np.float32)

    def _hand_prompts(self, words: Iterable[str]) -> list[str]:
        return [template.format(word) for word in words for template in self._templates]

    def _embeddings(self, texts: Iterable[str]) -> dict[str, FloatArray]:
        """Embedding of each text. The cache keeps exactly the present vocabulary's, so that it stays bounded."""
        wanted = list(dict.fromkeys(texts))
        new = [text for text in wanted if text not in self._cache]
        fresh = dict(zip(new, self._encode(new))) if new else {}
        for text, row in fresh.items():
            length = float(np.linalg.norm(row))
            if not abs(length - 1) < 1e-3:
                raise EngineError(f"text encoder: expected a unit vector for {text!r}, got length {length:g}")
        self._cache = {text: fresh[text] if text in fresh else self._cache[text] for text in wanted}
        return self._cache


def extended(bank: TextBank, words: FloatArray) -> TextBank:
    """The bank with words as further classes at the end, each known and a group of its own.

    They have one hand-written row and no learned one; the detector knows none of them.

    Args:
        bank: of a vocabulary.
        words: (n, D) unit rows.
    """
    count = len(words)
    rows = np.zeros((count, *bank.text_bank.shape[1:]), np.float32)
    rows[:, 0] = words
    clip_rows = np.zeros((count, bank.clip_mask.shape[1]), np.float32)
    clip_rows[:, 0] = 1
    groups, classes = bank.group_matrix.shape
    group_matrix = np.zeros((groups + count, classes + count), np.float32)
    group_matrix[:groups, :classes] = bank.group_matrix
    group_matrix[groups:, classes:] = np.eye(count)
    return replace(
        bank,
        text_bank=np.concatenate([bank.text_bank, rows]),
        aligned_mask=np.concatenate([bank.aligned_mask, np.zeros_like(clip_rows)]),
        clip_mask=np.concatenate([bank.clip_mask, clip_rows]),
        group_matrix=group_matrix,
        detector_matrix=np.pad(bank.detector_matrix, ((0, count), (0, 0))),
    )


def group_matrix(vocabulary: Vocabulary) -> FloatArray:
    """(G, C) float32: which class belongs to which known merge group."""
    matrix = np.zeros((len(vocabulary.groups), len(vocabulary.class_names)), np.float32)
    for index, item in enumerate(vocabulary.known):
        matrix[vocabulary.groups.index(item.group), index] = 1
    return matrix


def detector_matrix(vocabulary: Vocabulary, detector_classes: Sequence[str]) -> FloatArray:
    """(C, K) float32: which detector class is which known class, by name or synonym.

    A detector class that the vocabulary does not know keeps a zero column: what it finds stays unexplained.
    """
    # Words are unique over the vocabulary, so one lookup serves names and synonyms.
    index_of = {word.casefold(): index for index, item in enumerate(vocabulary.known) for word in item.words}
    matrix = np.zeros((len(vocabulary.class_names), len(detector_classes)), np.float32)
    for column, name in enumerate(detector_classes):
        if name.casefold() in index_of:
            matrix[index_of[name.casefold()], column] = 1
    return matrix
