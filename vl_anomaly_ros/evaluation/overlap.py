# SPDX-License-Identifier: Apache-2.0
"""Mean intersection over union of classes: known ones alone, and with the unknown as one more (open world)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.evaluation.conventions import ANOMALY, NORMAL, UNCLASSED
from vl_anomaly_ros.evaluation.examples import Truth
from vl_anomaly_ros.text.vocabulary import Vocabulary

Indices = npt.NDArray[np.integer[Any]]


class ConfusionMatrix:
    """Counts pixels by their true and their predicted class.

    Args:
        classes: how many.

    >>> confusion = ConfusionMatrix(3)
    >>> confusion.update(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]))
    >>> [None if value is None else round(value, 3) for value in confusion.overlaps()]  # 1 of 2; 2 of 3; none is true
    [0.5, 0.667, None]
    """

    def __init__(self, classes: int) -> None:
        self._counts = np.zeros((classes, classes), np.int64)

    def update(self, true: Indices, predicted: Indices) -> None:
        """Add pixels: (n,) indices each, all below the number of classes."""
        classes = len(self._counts)
        pairs = true.astype(np.int64) * classes + predicted
        self._counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def overlaps(self) -> list[float | None]:
        """Intersection over union of each class; None where no pixel is truly of it."""
        hit = np.diag(self._counts)
        union = self._counts.sum(0) + self._counts.sum(1) - hit
        present = self._counts.sum(1) > 0
        return [float(h / u) if there else None for h, u, there in zip(hit, union, present)]


def mean_overlap(overlaps: Sequence[float | None]) -> float | None:
    """Mean over the classes that are present; None without any."""
    present = [value for value in overlaps if value is not None]
    return float(np.mean(present)) if present else None


class KnownOverlap:
    """How well the known classes are told apart, over pixels that are truly of a known class.

    A class of the data set counts as the known class of the vocabulary that has its name among its words; those
    without one are left out, and named in `unmatched`.

    Args:
        classes: of the data set.
        vocabulary: what the predictions are indices of.
    """

    def __init__(self, classes: Sequence[str], vocabulary: Vocabulary) -> None:
        words = {word.casefold(): i for i, known in enumerate(vocabulary.known) for word in known.words}
        self._table = np.full(256, -1, np.int64)
        for index, name in enumerate(classes):
            self._table[index] = words.get(name.casefold(), -1)
        self.unmatched = [name for name in classes if name.casefold() not in words]
        self._confusion = ConfusionMatrix(len(vocabulary.known))

    def update(self, truth: Truth, class_map: Indices) -> None:
        """Add a picture: its truth with classes, and the predicted index of a known class of each pixel (H, W)."""
        true = self.true(truth)
        sure = true >= 0
        self._confusion.update(true[sure], class_map[sure])

    def true(self, truth: Truth) -> npt.NDArray[np.int64]:
        """(H, W) index of the vocabulary's known class, -1 where there is none."""
        if truth.semantic is None:
            return np.full(truth.label.shape, -1, np.int64)
        return np.where(truth.semantic == UNCLASSED, -1, self._table[truth.semantic])

    def compute(self) -> float | None:
        """Mean over the known classes that are present; None without any."""
        return mean_overlap(self._confusion.overlaps())


class OpenWorldOverlap:
    """How well known and unknown are told apart, and the known classes from each other, at one threshold.

    What scores at least the threshold is predicted to be unknown, whatever class it looks like. Where the data set
    labels known classes, these and the unknown are the classes; else there are two, known and unknown.

    Args:
        known: how the classes are matched.
        classes: known ones of the vocabulary; 1 where the data set labels none.
        threshold: inclusive.
    """

    def __init__(self, known: KnownOverlap, classes: int, threshold: float) -> None:
        self._known, self._unknown, self._threshold = known, classes, threshold
        self._confusion = ConfusionMatrix(classes + 1)

    def update(self, truth: Truth, class_map: Indices, score: npt.NDArray[np.floating[Any]]) -> None:
        """Add a picture: its truth, the predicted known class and the score of each pixel (H, W)."""
        if truth.semantic is None:
            true = np.where(truth.label == NORMAL, 0, -1)
            class_map = np.zeros(truth.label.shape, np.int64)
        else:
            true = self._known.true(truth)
        true = np.where(truth.label == ANOMALY, self._unknown, true)
        predicted = np.where(score.astype(np.float64, copy=False) >= self._threshold, self._unknown, class_map)
        sure = true >= 0
        self._confusion.update(true[sure], predicted[sure])

    def compute(self) -> tuple[float | None, float | None]:
        """Mean over the classes that are present with the unknown; and over the known ones alone.

        The second is the open-IoU of Grcić et al., "DenseHybrid" (ECCV 2022): the mistakes of the anomaly detector
        count against the known classes.
        """
        overlaps = self._confusion.overlaps()
        return mean_overlap(overlaps), mean_overlap(overlaps[:-1])
