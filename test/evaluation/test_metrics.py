# SPDX-License-Identifier: Apache-2.0
"""Metrics against brute force over every threshold, ties included."""

from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.metrics import PixelMetrics, threshold_counts


def brute_force(scores: np.ndarray, anomalous: np.ndarray) -> tuple[float, float, float]:
    """AuPRC, AuROC and FPR95 by the definitions: one pass over all thresholds, one over all pairs."""
    positives, negatives = scores[anomalous], scores[~anomalous]
    auprc, recall_before, fpr95 = 0.0, 0.0, None
    for threshold in sorted(set(scores.tolist()), reverse=True):
        tp, fp = (positives >= threshold).sum(), (negatives >= threshold).sum()
        recall = tp / len(positives)
        auprc += (recall - recall_before) * tp / (tp + fp)
        recall_before = recall
        if fpr95 is None and recall >= 0.95:
            fpr95 = fp / len(negatives)
    wins = (positives[:, None] > negatives).mean() + 0.5 * (positives[:, None] == negatives).mean()
    assert fpr95 is not None
    return float(auprc), float(wins), float(fpr95)


@pytest.mark.parametrize("levels", [None, 2, 5, 40], ids=["no ties", "two values", "many ties", "some ties"])
@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_brute_force(levels: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    anomalous = rng.random(300) < 0.2
    scores = (rng.random(300) + 0.4 * anomalous).astype(np.float32)
    if levels is not None:
        scores = np.round(scores * levels) / np.float32(levels)
    metrics = PixelMetrics()
    metrics.update(scores, anomalous.astype(np.uint8))
    figures = metrics.compute()
    assert (figures.auprc, figures.auroc, figures.fpr95) == pytest.approx(brute_force(scores, anomalous), abs=1e-9)
    assert figures.anomaly_share == pytest.approx(anomalous.mean())


def test_images_add_up_and_void_is_ignored() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((4, 6, 7)).astype(np.float32)
    labels = rng.integers(0, 3, (4, 6, 7)).astype(np.uint8)
    labels[labels == 2] = 255
    together, apart = PixelMetrics(), PixelMetrics()
    together.update(scores, labels)
    for score, label in zip(scores, labels):
        apart.update(np.where(label == 255, np.float32("nan"), score), label)
    assert together.compute() == apart.compute()
    assert together.compute().pixels == int((labels != 255).sum())


def test_perfect_reversed_and_constant_scores() -> None:
    labels = np.array([0, 0, 0, 1])
    for scores, auprc, auroc, fpr95 in [
        ([0.1, 0.2, 0.3, 0.9], 1.0, 1.0, 0.0),
        ([0.9, 0.8, 0.7, 0.1], 0.25, 0.0, 1.0),
        ([0.5, 0.5, 0.5, 0.5], 0.25, 0.5, 1.0),
    ]:
        metrics = PixelMetrics()
        metrics.update(np.array(scores), labels)
        figures = metrics.compute()
        assert (figures.auprc, figures.auroc, figures.fpr95) == pytest.approx((auprc, auroc, fpr95))


def test_reset_forgets() -> None:
    metrics = PixelMetrics()
    metrics.update(np.array([0.1, 0.9]), np.array([1, 0]))
    metrics.reset()
    metrics.update(np.array([0.1, 0.9]), np.array([0, 1]))
    assert metrics.compute().auroc == 1.0


def test_useless_input_is_refused() -> None:
    metrics = PixelMetrics()
    with pytest.raises(EvaluationError, match="no anomalous pixel"):
        metrics.compute()
    with pytest.raises(EvaluationError, match="one shape"):
        metrics.update(np.zeros((2, 3)), np.zeros((3, 2), np.uint8))
    with pytest.raises(EvaluationError, match="NaN"):
        metrics.update(np.array([np.nan, 0.0]), np.array([0, 1]))
    metrics.update(np.array([0.5]), np.array([1]))
    with pytest.raises(EvaluationError, match="no normal pixel"):
        metrics.compute()


def test_counts_at_distinct_scores() -> None:
    true_positives, false_positives = threshold_counts(
        np.array([0.5, 0.9, 0.5, 0.1], np.float32), np.array([True, False, False, True])
    )
    assert true_positives.tolist() == [0, 1, 2]
    assert false_positives.tolist() == [1, 2, 2]
