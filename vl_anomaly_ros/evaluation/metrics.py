# SPDX-License-Identifier: Apache-2.0
"""Pixel metrics of anomaly segmentation: average precision, area under the ROC curve, FPR at 95 % recall, best F1.

Exact: no binning, no sampling, no rounding of float64. Equal scores are one threshold, so that no order among ties can
flatter a method. Memory stays the same however many pixels come (see `sorted_counts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.sorted_counts import DEFAULT_BUFFER, Block, SortedCounts, merged

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
        anomaly_share: share of anomalous pixels; the AuPRC of a score without information.
        pixels: number of labelled pixels.
    """

    auprc: float
    auroc: float
    fpr95: float
    f1_max: float
    f1_threshold: float
    anomaly_share: float
    pixels: int


class PixelMetrics:
    """Collects scores image by image.

    Args:
        recall: at which the false-positive rate is taken.
        buffer: pixels of each kind that are held in memory; more go to a temporary file.

    >>> metrics = PixelMetrics()
    >>> metrics.update(np.array([0.1, 0.4, 0.8, 0.9]), np.array([0, 1, 0, 1]))
    >>> figures = metrics.compute()
    >>> round(figures.auprc, 4), figures.f1_max, figures.f1_threshold
    (0.8333, 0.8, 0.4)
    """

    def __init__(self, recall: float = 0.95, buffer: int = DEFAULT_BUFFER) -> None:
        self._recall = recall
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
        self._normal.add(-normal)  # increasing is from the highest threshold down
        self._anomalous.add(-anomalous)

    def compute(self) -> PixelFigures:
        """Return the figures over everything seen.

        Raises:
            EvaluationError: no anomalous or no normal pixel was seen, so that no figure is defined.
        """
        positives, negatives = self._anomalous.total, self._normal.total
        _check_both(positives, negatives)
        auprc = auroc = f1_max = f1_threshold = 0.0
        fpr95, tp, fp = None, 0, 0
        for values, counts in merged([_column(self._anomalous, 0), _column(self._normal, 1)]):
            true_positives, false_positives = tp + np.cumsum(counts[:, 0]), fp + np.cumsum(counts[:, 1])
            tp, fp = int(true_positives[-1]), int(false_positives[-1])
            gained, width = counts[:, 0] / positives, counts[:, 1] / negatives
            recall = true_positives / positives
            auprc += float((gained * (true_positives / (true_positives + false_positives))).sum())
            auroc += float((width * (recall - 0.5 * gained)).sum())
            if fpr95 is None and recall[-1] >= self._recall - _SLACK:
                fpr95 = float(false_positives[np.searchsorted(recall, self._recall - _SLACK)] / negatives)
            f1 = 2 * true_positives / (positives + true_positives + false_positives)
            best = int(np.argmax(f1))
            if f1[best] > f1_max:
                f1_max, f1_threshold = float(f1[best]), -float(values[best])
        return PixelFigures(
            auprc=auprc,
            auroc=auroc,
            fpr95=1.0 if fpr95 is None else fpr95,
            f1_max=f1_max,
            f1_threshold=f1_threshold + 0.0,  # no -0.0
            anomaly_share=positives / (positives + negatives),
            pixels=positives + negatives,
        )


def _column(counts: SortedCounts, column: int) -> Iterator[Block]:
    """The blocks with their counts in one of two columns, the other 0."""
    for values, of_one in counts.blocks():
        both = np.zeros((len(values), 2), np.int64)
        both[:, column] = of_one
        yield values, both


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
