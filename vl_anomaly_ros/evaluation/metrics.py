# SPDX-License-Identifier: Apache-2.0
"""Pixel metrics of anomaly segmentation: average precision, area under the ROC curve, FPR at 95 % recall, best F1.

Exact: no binning, no sampling, no rounding of float64. Equal scores are one threshold, so that no order among ties can
flatter a method. Memory stays the same however many pixels come (see `sorted_counts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.sorted_counts import DEFAULT_BUFFER, Block, SortedCounts

RECALLS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""True-positive rates at which the false-positive rate is taken."""
NORMAL = 0
ANOMALY = 1
FloatArray = npt.NDArray[np.float32]
_SLACK = 1e-12  # a recall of 0.95 is reached by 19 of 20, whatever 0.95 is in binary


@dataclass(frozen=True)
class PixelFigures:
    """Result over all labelled pixels.

    Attributes:
        auprc: area under the precision-recall curve as average precision (sum of precision x recall gained).
        auroc: area under the ROC curve.
        fpr95: smallest false-positive rate among thresholds with a true-positive rate of at least 0.95.
        f1_max: highest F1 of all thresholds.
        f1_threshold: the threshold (inclusive) that has it; of several, the highest.
        retained: at each of `RECALLS`, the largest share of normal pixels that stay below a threshold with at least
            that true-positive rate; `1 - fpr95` is the one at 0.95.
        anomaly_share: share of anomalous pixels; the AuPRC of a score without information.
        pixels: number of labelled pixels.
    """

    auprc: float
    auroc: float
    fpr95: float
    f1_max: float
    f1_threshold: float
    retained: tuple[float, ...]
    anomaly_share: float
    pixels: int


class PixelMetrics:
    """Collects scores image by image.

    Args:
        buffer: pixels of each kind that are held in memory; more go to a temporary file.

    >>> metrics = PixelMetrics()
    >>> metrics.update(np.array([0.1, 0.4, 0.8, 0.9]), np.array([0, 1, 0, 1]))
    >>> figures = metrics.compute()
    >>> round(figures.auprc, 4), figures.f1_max, figures.f1_threshold
    (0.8333, 0.8, 0.4)
    """

    def __init__(self, buffer: int = DEFAULT_BUFFER) -> None:
        self._buffer = buffer
        self.reset()

    def reset(self) -> None:
        """Forget everything seen so far."""
        self._normal, self._anomalous = SortedCounts(self._buffer), SortedCounts(self._buffer)

    def update(self, scores: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]) -> None:
        """Add an image.

        Args:
            scores: any shape, of up to 64 bits, finite where labelled; higher = more anomalous.
            labels: the same shape; 0 normal, 1 anomalous, anything else (255 void) is ignored.

        Raises:
            EvaluationError: the shapes differ, a labelled score is not finite, or the type is wider than float64.
        """
        if scores.shape != labels.shape:
            raise EvaluationError(
                f"metrics: scores {scores.shape} and labels {labels.shape} must have one shape; resize the scores"
            )
        kept = np.result_type(scores.dtype, np.float32)
        if kept not in (np.float32, np.float64):
            raise EvaluationError(f"metrics: expected scores of up to float64, got {scores.dtype}; convert them")
        normal, anomalous = (scores[labels == kind].astype(kept, copy=False) for kind in (NORMAL, ANOMALY))
        if not np.isfinite(normal).all() or not np.isfinite(anomalous).all():
            raise EvaluationError("metrics: a score is NaN or infinite; the method gave no value for a pixel")
        self._normal.add(normal)
        self._anomalous.add(anomalous)

    def compute(self) -> PixelFigures:
        """Return the figures over everything seen.

        Only the scores of anomalous pixels are looked at as thresholds: at any other one recall is the same as at the
        next higher of these, and more normal pixels are taken for anomalous.

        Raises:
            EvaluationError: no anomalous or no normal pixel was seen, so that no figure is defined.
        """
        positives, negatives = self._anomalous.total, self._normal.total
        _check_both(positives, negatives)
        normal = _Ranks(self._normal)
        auprc = auroc = f1_max = f1_threshold = 0.0
        wanted = (np.array(RECALLS) - _SLACK) * positives
        passing = np.zeros(len(RECALLS), np.int64)  # normal pixels that the highest such threshold lets through
        passed = 0  # anomalous pixels below the block's thresholds
        for thresholds, counts in self._anomalous.blocks():  # from the lowest up
            below, not_above = normal.of(thresholds)
            true_positives = positives - passed - np.cumsum(counts) + counts
            false_positives = negatives - below
            passed += int(counts.sum())
            auprc += float((counts / positives * (true_positives / (true_positives + false_positives))).sum())
            auroc += float((counts / positives * ((below + not_above) / (2 * negatives))).sum())
            enough = np.searchsorted(-true_positives, -wanted, side="right")
            passing = np.where(enough > 0, false_positives[np.maximum(enough, 1) - 1], passing)
            f1 = 2 * true_positives / (positives + true_positives + false_positives)
            best = f1.size - 1 - int(np.argmax(f1[::-1]))
            if f1[best] >= f1_max:
                f1_max, f1_threshold = float(f1[best]), float(thresholds[best])
        rates = passing / negatives
        return PixelFigures(
            auprc=auprc,
            auroc=auroc,
            fpr95=float(rates[RECALLS.index(0.95)]),
            f1_max=f1_max,
            f1_threshold=f1_threshold,
            retained=tuple((1.0 - rates).tolist()),
            anomaly_share=positives / (positives + negatives),
            pixels=positives + negatives,
        )


class _Ranks:
    """How many numbers of a bag are below others, which come in increasing order."""

    def __init__(self, counts: SortedCounts) -> None:
        self._blocks = counts.blocks()
        self._before = 0  # numbers in the blocks before this one
        self._next()

    def of(self, values: npt.NDArray[np.floating[Any]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """How many are below each, and how many are not above; `values` (n,) go on where the last ones ended."""
        below, not_above = np.empty(values.size, np.int64), np.empty(values.size, np.int64)
        done = 0
        while done < values.size:
            end = int(np.searchsorted(values, self._values[-1], side="right")) if self._values.size else values.size
            here = values[done:end]
            below[done:end] = self._before + self._counted[np.searchsorted(self._values, here, side="left")]
            not_above[done:end] = self._before + self._counted[np.searchsorted(self._values, here, side="right")]
            done = end
            if done < values.size:
                self._before += int(self._counted[-1])
                self._next()
        return below, not_above

    def _next(self) -> None:
        nothing: Block = np.empty(0), np.empty(0, np.int64)
        self._values, counts = next(self._blocks, nothing)
        self._counted = np.concatenate([[0], np.cumsum(counts)])


def _check_both(anomalous: int, normal: int) -> None:
    if not anomalous or not normal:
        kind = "normal" if anomalous else "anomalous"
        raise EvaluationError(f"metrics: no {kind} pixel among {anomalous + normal}; both kinds are needed")


def threshold_counts(
    scores: FloatArray, anomalous: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count true and false positives at every distinct score, from the highest down.

    Args:
        scores: (N,) finite.
        anomalous: (N,).

    Returns:
        true positives and false positives, each (number of distinct scores,).

    Raises:
        EvaluationError: one of the two kinds is absent.
    """
    _check_both(int(np.count_nonzero(anomalous)), int(anomalous.size - np.count_nonzero(anomalous)))
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(ordered)), ordered.size - 1)
    true_positives = np.cumsum(anomalous[order], dtype=np.int64)[last_of_tie]
    return true_positives, last_of_tie + 1 - true_positives
