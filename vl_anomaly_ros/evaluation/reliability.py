# SPDX-License-Identifier: Apache-2.0
"""How far a probability can be believed: the reliability table and the expected calibration error (ECE).

ECE after Guo et al., "On Calibration of Modern Neural Networks" (2017), for the two kinds of pixels: the mean over
bins of |mean probability - share of anomalies|, weighted by the pixels in the bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import EvaluationError

DEFAULT_BINS = 15
MAX_BINS = 10_000
_NORMAL, _ANOMALY = 0, 1


@dataclass(frozen=True)
class ReliabilityBin:
    """One row of the table.

    Attributes:
        low, high: edges, [low, high); the last bin holds 1 as well.
        probability: mean probability given; None where the bin is empty.
        observed: share of anomalies; None where the bin is empty.
        count: pixels.
    """

    low: float
    high: float
    probability: float | None
    observed: float | None
    count: int


@dataclass(frozen=True)
class ReliabilityFigures:
    """Result over all labelled pixels.

    Attributes:
        ece: expected calibration error, 0..1.
        bins: the table, from probability 0 up; of equal width.
        pixels: number of labelled pixels.
    """

    ece: float
    bins: tuple[ReliabilityBin, ...]
    pixels: int


class Reliability:
    """Collects probabilities image by image, in memory for the bins alone.

    Args:
        bins: how many of equal width over [0, 1].

    Raises:
        EvaluationError: no bin, or too many.

    >>> reliability = Reliability(bins=2)
    >>> reliability.update(np.array([0.1, 0.3, 0.9, 0.7]), np.array([0, 1, 1, 1]))
    >>> figures = reliability.compute()  # below 0.5: |0.2 - 0.5|; above: |0.8 - 1|; half of the pixels each
    >>> round(figures.ece, 6), figures.bins[0].count
    (0.25, 2)
    """

    def __init__(self, bins: int = DEFAULT_BINS) -> None:
        if not 1 <= bins <= MAX_BINS:
            raise EvaluationError(f"reliability: expected 1 to {MAX_BINS} bins, got {bins}")
        self._bins = bins
        self.reset()

    def reset(self) -> None:
        """Forget everything seen so far."""
        self._count = np.zeros(self._bins, np.int64)
        self._anomalies = np.zeros(self._bins, np.int64)
        self._total = np.zeros(self._bins, np.float64)

    def update(self, probability: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]) -> None:
        """Add an image.

        Args:
            probability: any shape, 0..1 where labelled.
            labels: the same shape; 0 normal, 1 anomalous, anything else (255 void) is ignored.

        Raises:
            EvaluationError: the shapes differ, or a labelled probability is NaN or outside [0, 1].
        """
        if probability.shape != labels.shape:
            raise EvaluationError(
                f"reliability: probability {probability.shape} and labels {labels.shape} must have one shape; "
                "resize the probability"
            )
        used = (labels == _NORMAL) | (labels == _ANOMALY)
        chosen = probability[used].astype(np.float64)
        if not ((chosen >= 0) & (chosen <= 1)).all():
            raise EvaluationError(
                "reliability: expected probabilities from 0 to 1, got one that is NaN or outside; "
                "map the scores to probabilities first"
            )
        place = np.minimum((chosen * self._bins).astype(np.int64), self._bins - 1)
        self._count += np.bincount(place, minlength=self._bins)
        self._anomalies += np.bincount(place[labels[used] == _ANOMALY], minlength=self._bins)
        self._total += np.bincount(place, chosen, self._bins)

    def compute(self) -> ReliabilityFigures:
        """The figures over everything seen. They are defined for one kind of pixels alone, too.

        Raises:
            EvaluationError: no labelled pixel was seen.
        """
        pixels = int(self._count.sum())
        if not pixels:
            raise EvaluationError("reliability: no labelled pixel was seen, so that no error is defined")
        edges = np.linspace(0.0, 1.0, self._bins + 1)
        table = tuple(
            ReliabilityBin(low, high, total / count if count else None, anomalies / count if count else None, count)
            for low, high, total, anomalies, count in zip(
                edges[:-1].tolist(), edges[1:].tolist(), self._total.tolist(), self._anomalies.tolist(),
                self._count.tolist(),
            )
        )  # fmt: skip
        return ReliabilityFigures(float(np.abs(self._total - self._anomalies).sum() / pixels), table, pixels)
