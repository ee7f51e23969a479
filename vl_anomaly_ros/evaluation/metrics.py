# SPDX-License-Identifier: Apache-2.0
"""Pixel metrics of anomaly segmentation: average precision, area under the ROC curve, FPR at 95 % recall.

Exact, with equal scores treated as one threshold, so that no order among ties can flatter a method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import EvaluationError

NORMAL = 0
ANOMALY = 1
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PixelFigures:
    """Result over all labelled pixels.

    Attributes:
        auprc: area under the precision-recall curve as average precision (sum of precision x recall gained).
        auroc: area under the ROC curve.
        fpr95: smallest false-positive rate among thresholds with a true-positive rate of at least 0.95.
        anomaly_share: share of anomalous pixels; the AuPRC of a score without information.
        pixels: number of labelled pixels.
    """

    auprc: float
    auroc: float
    fpr95: float
    anomaly_share: float
    pixels: int


class PixelMetrics:
    """Collects scores image by image.

    >>> metrics = PixelMetrics()
    >>> metrics.update(np.array([0.1, 0.4, 0.8, 0.9]), np.array([0, 1, 0, 1]))
    >>> round(metrics.compute().auprc, 4)
    0.8333
    """

    def __init__(self, recall: float = 0.95) -> None:
        self._recall = recall
        self.reset()

    def reset(self) -> None:
        """Forget everything seen so far."""
        self._scores: list[FloatArray] = []
        self._anomalous: list[npt.NDArray[np.bool_]] = []

    def update(self, scores: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]) -> None:
        """Add an image.

        Args:
            scores: any shape, finite; higher = more anomalous.
            labels: the same shape; 0 normal, 1 anomalous, anything else is ignored.

        Raises:
            EvaluationError: the shapes differ or a labelled score is not finite.
        """
        if scores.shape != labels.shape:
            raise EvaluationError(
                f"metrics: scores {scores.shape} and labels {labels.shape} must have one shape; resize the scores"
            )
        used = (labels == NORMAL) | (labels == ANOMALY)
        chosen = scores[used].astype(np.float32)
        if not np.isfinite(chosen).all():
            raise EvaluationError("metrics: a score is NaN or infinite; the method gave no value for a pixel")
        self._scores.append(chosen)
        self._anomalous.append(labels[used] == ANOMALY)

    def compute(self) -> PixelFigures:
        """Return the figures over everything seen.

        Raises:
            EvaluationError: no anomalous or no normal pixel was seen, so that no figure is defined.
        """
        scores = np.concatenate(self._scores) if self._scores else np.zeros(0, np.float32)
        anomalous = np.concatenate(self._anomalous) if self._anomalous else np.zeros(0, np.bool_)
        true_positives, false_positives = threshold_counts(scores, anomalous)
        positives, negatives = int(true_positives[-1]), int(false_positives[-1])
        recall = true_positives / positives
        false_rate = false_positives / negatives
        precision = true_positives / (true_positives + false_positives)
        gained = np.diff(recall, prepend=0.0)
        widths = np.diff(false_rate, prepend=0.0)
        heights = recall - 0.5 * gained
        return PixelFigures(
            auprc=float((gained * precision).sum()),
            auroc=float((widths * heights).sum()),
            fpr95=float(false_rate[np.searchsorted(recall, self._recall - 1e-12)]),
            anomaly_share=positives / (positives + negatives),
            pixels=positives + negatives,
        )


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
    if not anomalous.any() or anomalous.all():
        kind = "normal" if anomalous.any() else "anomalous"
        raise EvaluationError(f"metrics: no {kind} pixel among {anomalous.size}; both kinds are needed")
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(ordered)), ordered.size - 1)
    true_positives = np.cumsum(anomalous[order], dtype=np.int64)[last_of_tie]
    return true_positives, last_of_tie + 1 - true_positives
