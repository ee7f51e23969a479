# SPDX-License-Identifier: Apache-2.0
"""Metrics against brute force over every threshold, ties included."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.metrics import RECALLS, PixelFigures, PixelMetrics, threshold_counts

Figures = tuple[float, float, float, float, float]


def of(figures: PixelFigures) -> Figures:
    return figures.auprc, figures.auroc, figures.fpr95, figures.f1_max, figures.f1_threshold


def brute_force(scores: np.ndarray, anomalous: np.ndarray) -> Figures:
    """The figures by their definitions: one pass over all thresholds, one over all pairs."""
    positives, negatives = scores[anomalous], scores[~anomalous]
    auprc, recall_before, fpr95, f1_max, f1_threshold = 0.0, 0.0, None, 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        tp, fp = (positives >= threshold).sum(), (negatives >= threshold).sum()
        recall = tp / len(positives)
        auprc += (recall - recall_before) * tp / (tp + fp)
        recall_before = recall
        if fpr95 is None and recall >= 0.95:
            fpr95 = fp / len(negatives)
        f1 = 2 * tp / (2 * tp + fp + len(positives) - tp)
        if f1 > f1_max + 1e-12:
            f1_max, f1_threshold = f1, threshold
    wins = (positives[:, None] > negatives).mean() + 0.5 * (positives[:, None] == negatives).mean()
    assert fpr95 is not None
    return float(auprc), float(wins), float(fpr95), float(f1_max), float(f1_threshold)


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
    assert of(figures) == pytest.approx(brute_force(scores, anomalous), abs=1e-9)
    assert figures.anomaly_share == pytest.approx(anomalous.mean())


def test_what_is_retained_at_each_recall_is_as_defined() -> None:
    rng = np.random.default_rng(3)
    anomalous = rng.random(400) < 0.3
    scores = np.round(rng.random(400) + 0.5 * anomalous, 1).astype(np.float32)
    metrics = PixelMetrics(buffer=7)
    metrics.update(scores, anomalous.astype(np.uint8))
    figures = metrics.compute()
    for recall, retained in zip(RECALLS, figures.retained):
        enough = [t for t in set(scores.tolist()) if (scores[anomalous] >= t).mean() >= recall - 1e-9]
        assert retained == pytest.approx((scores[~anomalous] < max(enough)).mean())
    assert figures.retained[RECALLS.index(0.95)] == pytest.approx(1 - figures.fpr95)


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


@pytest.mark.parametrize("buffer", [1, 7, 100, 1000])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_went_to_the_disk_counts_as_what_stayed(buffer: int, dtype: type[np.floating]) -> None:
    """With a buffer of 1, every image is a run of its own, and runs are merged over several levels."""
    rng = np.random.default_rng(buffer)
    labels = (rng.random((300, 5)) < 0.3).astype(np.uint8)
    scores = (np.round(rng.random(labels.shape) * 50) / 50 - 0.3 + 0.2 * labels).astype(dtype)
    whole, spilled = PixelMetrics(), PixelMetrics(buffer=buffer)
    whole.update(scores, labels)
    for score, label in zip(scores, labels):
        spilled.update(score, label)
    assert of(spilled.compute()) == pytest.approx(of(whole.compute()), abs=1e-12)
    assert of(spilled.compute()) == pytest.approx(
        brute_force(scores.astype(np.float64).ravel(), labels.ravel() == 1), abs=1e-9
    )


def test_memory_does_not_grow_with_the_pixels() -> None:
    """Six times the pixels, the same peak: what is more goes to the disk."""
    rng = np.random.default_rng(0)
    peaks = []
    for images in (6, 36):
        metrics = PixelMetrics(buffer=8_000)
        tracemalloc.start()
        for _ in range(images):
            metrics.update(rng.random(4_000), (rng.random(4_000) < 0.5).astype(np.uint8))
        metrics.compute()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0], peaks


def test_float64_is_not_rounded_into_ties() -> None:
    """All normal scores are below all others, by less than float32 can tell; float32 and float64 may be mixed."""
    metrics = PixelMetrics(buffer=1)
    for shift in range(4):
        metrics.update(np.array([0.5 + shift * 1e-12, 0.5 + 1e-11]), np.array([0, 1]))
    metrics.update(np.array([0.5, 0.75], np.float32), np.array([0, 1]))
    assert of(metrics.compute()) == (1.0, 1.0, 0.0, 1.0, 0.5 + 1e-11)


def test_more_may_come_after_the_figures() -> None:
    metrics = PixelMetrics(buffer=2)
    metrics.update(np.array([0.1, 0.9, 0.3]), np.array([0, 1, 0]))
    assert metrics.compute().auroc == 1.0
    metrics.update(np.array([0.95]), np.array([0]))
    figures = metrics.compute()
    # One anomaly at 0.9 against three normal pixels, of which 0.95 is higher; two of the three pairs are right.
    assert figures.auroc == pytest.approx(2 / 3)
    assert (figures.auprc, figures.fpr95, figures.f1_max) == pytest.approx((0.5, 1 / 3, 2 / 3))


def test_perfect_reversed_and_constant_scores() -> None:
    labels = np.array([0, 0, 0, 1])
    # All pixels called anomalous: precision 1/4, recall 1, F1 = 2 x 1/4 / (5/4) = 0.4.
    for scores, *expected in [
        ([0.1, 0.2, 0.3, 0.9], 1.0, 1.0, 0.0, 1.0, 0.9),
        ([0.9, 0.8, 0.7, 0.1], 0.25, 0.0, 1.0, 0.4, 0.1),
        ([0.5, 0.5, 0.5, 0.5], 0.25, 0.5, 1.0, 0.4, 0.5),
        ([-2.0, -3.0, -9.0, 0.0], 1.0, 1.0, 0.0, 1.0, 0.0),
    ]:
        metrics = PixelMetrics()
        metrics.update(np.array(scores), labels)
        assert of(metrics.compute()) == pytest.approx(tuple(expected))


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
    with pytest.raises(EvaluationError, match="infinite"):
        metrics.update(np.array([0.1, np.inf]), np.array([0, 1]))
    with pytest.raises(EvaluationError, match="float64"):
        metrics.update(np.array([0.1, 0.2], np.longdouble), np.array([0, 1]))
    metrics.update(np.array([0.1, np.nan]), np.array([255, 255]))
    with pytest.raises(EvaluationError, match="no anomalous pixel among 0"):
        metrics.compute()
    metrics.update(np.array([0.5]), np.array([1]))
    with pytest.raises(EvaluationError, match="no normal pixel"):
        metrics.compute()


def test_counts_at_distinct_scores() -> None:
    true_positives, false_positives = threshold_counts(
        np.array([0.5, 0.9, 0.5, 0.1], np.float32), np.array([True, False, False, True])
    )
    assert true_positives.tolist() == [0, 1, 2]
    assert false_positives.tolist() == [1, 2, 2]
