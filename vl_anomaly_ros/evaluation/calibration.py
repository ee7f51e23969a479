# SPDX-License-Identifier: Apache-2.0
"""Learn a bundle's calibration from labelled images: weights, temperatures, probability map, thresholds.

The paper tunes the source weights by hand; here a small search over labelled images does it (AuPRC minus
FPR95), and isotonic regression maps the fused score to a probability. Needs ONNX Runtime, no PyTorch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.anomaly import BundleRunner, anomaly_regions
from vl_anomaly_ros.evaluation.image_set import LabelledImage
from vl_anomaly_ros.evaluation.metrics import ANOMALY, FloatArray, PixelMetrics, threshold_counts

Bools = npt.NDArray[np.bool_]
Weights = tuple[float, float, float]
MAX_KNOTS = 32


@dataclass(frozen=True)
class CalibrationSettings:
    """The search's grid and the rules for the two thresholds.

    Attributes:
        aligned_tau, clip_tau: temperatures tried; CLIP's are in units of 1 / logit_scale.
        clip_dense_weight: shares of the per-pixel CLIP probability tried.
        weight_step: grid of the source weights on their simplex.
        f_beta: the threshold maximises F-beta over pixels; 2 counts a missed anomaly pixel more than a false one.
        name_precision: the name threshold is the lowest confidence from which at least this share of names is
            right.
        stride_px: every so many pixels of the mask grid's image are used.
        min_region_px: smaller true regions do not count for naming.
    """

    aligned_tau: tuple[float, ...] = (0.02, 0.04, 0.07, 0.12, 0.2)
    clip_tau: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    clip_dense_weight: tuple[float, ...] = (0.0, 0.5, 1.0)
    weight_step: float = 0.1
    f_beta: float = 2.0
    name_precision: float = 0.5
    stride_px: int = 4
    min_region_px: int = 64


@dataclass
class Samples:
    """Pixels of all images: labels and the sources under every setting tried."""

    anomalous: list[Bools] = field(default_factory=list)
    detector: list[FloatArray] = field(default_factory=list)
    text: dict[float, list[FloatArray]] = field(default_factory=dict)
    clip: dict[tuple[float, float], list[FloatArray]] = field(default_factory=dict)
    names_right: list[bool] = field(default_factory=list)
    name_confidence: list[float] = field(default_factory=list)


def calibrate(
    runner: BundleRunner,
    images: Iterable[LabelledImage],
    settings: CalibrationSettings | None = None,
    measured_on: str = "labelled images",
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Return the contents of calibration.yaml.

    Args:
        runner: the bundle; what its own calibration says is not used.
        images: labelled images of the network's size, none of them seen in training.
        settings: grid and rules.
        measured_on: recorded for people.
        progress: called with the number of images done.

    Raises:
        EvaluationError: no anomalous or no normal pixel among the images.
    """
    settings = settings or CalibrationSettings()
    samples = collect(runner, images, settings, progress)
    found = search(samples, settings)
    score, anomalous = found.score, np.concatenate(samples.anomalous)
    knots, probability = isotonic_map(score, anomalous)
    figures = _figures(score, anomalous)
    return {
        "source_weights": [round(float(w), 4) for w in found.weights],
        "temperatures": [float(found.aligned_tau), float(found.clip_tau)],
        "clip_dense_weight": float(found.dense),
        "probability": {"score": knots, "probability": probability},
        "threshold": threshold_by_f_beta(np.interp(score, knots, probability), anomalous, settings.f_beta),
        "min_name_confidence": name_threshold(
            np.array(samples.name_confidence), np.array(samples.names_right, bool), settings.name_precision
        ),
        "measured_on": (
            f"{measured_on}: {len(samples.anomalous)} images, every {settings.stride_px}th pixel in both "
            f"directions; AuPRC {figures[0]:.3f}, FPR95 {figures[1]:.3f}; weights by AuPRC - FPR95, threshold by "
            f"the best F{settings.f_beta:g} over pixels"
        ),
    }


def collect(
    runner: BundleRunner,
    images: Iterable[LabelledImage],
    settings: CalibrationSettings,
    progress: Callable[[int], None] = lambda _: None,
) -> Samples:
    """Run every image under every temperature and dense weight of the grid."""
    samples = Samples()
    clip_settings = [
        (tau / runner.bundle.logit_scale, dense)
        for tau, dense in itertools.product(settings.clip_tau, settings.clip_dense_weight)
    ]
    tau_name = 1.0 / runner.bundle.logit_scale
    for done, item in enumerate(images, 1):
        visual = runner.visual(item.image)
        offset = settings.stride_px // 2
        labels = item.label[offset :: settings.stride_px, offset :: settings.stride_px]
        used = labels <= ANOMALY
        samples.anomalous.append(labels[used] == ANOMALY)
        for index, (clip_tau, dense) in enumerate(clip_settings):
            aligned_tau = settings.aligned_tau[index % len(settings.aligned_tau)]
            _, sources, _ = runner.head(visual, (1.0, 1.0, 1.0), (aligned_tau, clip_tau), dense)
            if sources.shape[1:] != labels.shape:
                raise EvaluationError(
                    f"calibration: the masks are {sources.shape[1:]}, every {settings.stride_px}th pixel of the "
                    f"image {labels.shape}; set stride_px to the masks' stride"
                )
            samples.clip.setdefault((clip_tau, dense), []).append(sources[2][used])
            if index < len(settings.aligned_tau):
                samples.text.setdefault(aligned_tau, []).append(sources[1][used])
            if index == 0:
                samples.detector.append(sources[0][used])
        _collect_names(runner, item, visual, settings, tau_name, samples)
        progress(done)
    if not any(part.any() for part in samples.anomalous):
        raise EvaluationError("calibration: no anomalous pixel in the images; use a set with anomalies")
    return samples


def _collect_names(
    runner: BundleRunner, item: LabelledImage, visual: Mapping[str, FloatArray],
    settings: CalibrationSettings, tau: float, samples: Samples,
) -> None:  # fmt: skip
    """Name every true anomaly region as the pipeline would: softmax over the candidates' cosines."""
    candidates = runner.bundle.vocabulary.candidates
    if not candidates:
        return
    for record, embedding in anomaly_regions(item, visual, settings.min_region_px):
        logits = runner.bank.candidates @ embedding / tau
        probabilities = np.exp(logits - logits.max())
        best = int(probabilities.argmax())
        samples.names_right.append(candidates[best] == record["category"])
        samples.name_confidence.append(float(probabilities[best] / probabilities.sum()))


@dataclass(frozen=True)
class Found:
    """The best setting and its fused score (N,)."""

    weights: Weights
    aligned_tau: float
    clip_tau: float
    dense: float
    score: FloatArray


def search(samples: Samples, settings: CalibrationSettings) -> Found:
    """Search coordinate by coordinate: each source alone first, then the weights, then all once more."""
    anomalous = np.concatenate(samples.anomalous)
    detector = np.concatenate(samples.detector)
    text = {key: np.concatenate(parts) for key, parts in samples.text.items()}
    clip = {key: np.concatenate(parts) for key, parts in samples.clip.items()}

    def objective(score: FloatArray) -> float:
        auprc, fpr95 = _figures(score, anomalous)
        return auprc - fpr95

    best_text = max(text, key=lambda key: objective(text[key]))
    best_clip = max(clip, key=lambda key: objective(clip[key]))
    weights: Weights = (1 / 3, 1 / 3, 1 / 3)
    for _ in range(2):
        weights = max(
            weight_grid(settings.weight_step),
            key=lambda w: objective(_fuse(w, detector, text[best_text], clip[best_clip])),
        )
        best_text = max(text, key=lambda key: objective(_fuse(weights, detector, text[key], clip[best_clip])))
        best_clip = max(clip, key=lambda key: objective(_fuse(weights, detector, text[best_text], clip[key])))
    score = _fuse(weights, detector, text[best_text], clip[best_clip])
    return Found(weights, best_text, best_clip[0], best_clip[1], score)


def _fuse(weights: Weights, detector: FloatArray, text: FloatArray, clip: FloatArray) -> FloatArray:
    return np.asarray(weights[0] * detector + weights[1] * text + weights[2] * clip, np.float32)


def _figures(score: FloatArray, anomalous: Bools) -> tuple[float, float]:
    metrics = PixelMetrics()
    metrics.update(score, anomalous.astype(np.int8))
    figures = metrics.compute()
    return figures.auprc, figures.fpr95


def weight_grid(step: float) -> list[Weights]:
    """Return the points of the simplex of three weights on a grid.

    >>> len(weight_grid(0.5))
    6
    """
    n = round(1.0 / step)
    return [(i / n, j / n, (n - i - j) / n) for i in range(n + 1) for j in range(n + 1 - i)]


def isotonic_map(score: FloatArray, anomalous: Bools, max_knots: int = MAX_KNOTS) -> tuple[list[float], list[float]]:
    """Fit a non-decreasing probability of the score by pooling adjacent violators, as few linear pieces.

    Args:
        score: (N,).
        anomalous: (N,).
        max_knots: most knots returned.

    Returns:
        increasing scores and non-decreasing probabilities of the knots, at least two.
    """
    order = np.argsort(score, kind="stable")
    ordered, truth = score[order].astype(np.float64), anomalous[order].astype(np.float64)
    # Bins finer at the upper end, where the few anomalous pixels lie.
    n = len(ordered)
    tail = np.unique(np.concatenate([np.linspace(0, n, 201), n - np.geomspace(1, n, 400)]).astype(np.int64))
    edges = np.unique(np.clip(tail, 0, n))
    sizes = np.diff(edges)
    means = np.add.reduceat(truth, edges[:-1]) / sizes
    centres = np.add.reduceat(ordered, edges[:-1]) / sizes
    blocks: list[list[float]] = []  # weight, mean probability, mean score
    for size, mean, centre in zip(sizes.tolist(), means.tolist(), centres.tolist()):
        blocks.append([size, mean, centre])
        while len(blocks) > 1 and blocks[-2][1] >= blocks[-1][1]:
            last = blocks.pop()
            total = blocks[-1][0] + last[0]
            means_of_both = ((blocks[-1][0] * a + last[0] * b) / total for a, b in zip(blocks[-1][1:], last[1:]))
            blocks[-1] = [total, *means_of_both]
    x, y = np.array([b[2] for b in blocks]), np.array([b[1] for b in blocks])
    keep = np.append(True, np.diff(x) > 1e-6)
    x, y = x[keep], y[keep]
    if len(x) < 2:
        return [0.0, 1.0], [float(y[0]), float(y[0])]
    if len(x) > max_knots:
        wanted = np.linspace(0, 1, max_knots)
        rise = np.diff(y, prepend=y[0]) / max(np.ptp(y), 1e-9)
        path = np.cumsum(np.hypot(np.diff(x, prepend=x[0]) / np.ptp(x), rise))
        chosen = np.unique(np.searchsorted(path / path[-1], wanted).clip(0, len(x) - 1))
        x, y = x[chosen], y[chosen]
    x, first = np.unique(np.round(x, 6), return_index=True)
    y = np.maximum.accumulate(np.round(np.clip(y[first], 0.0, 1.0), 6))
    return x.tolist(), y.tolist()


def threshold_by_f_beta(probability: npt.NDArray[np.floating[Any]], anomalous: Bools, beta: float) -> float:
    """Return the probability threshold (inclusive) with the best F-beta over pixels."""
    scores = probability.astype(np.float32)
    true_positives, false_positives = threshold_counts(scores, anomalous)
    distinct = np.unique(scores)[::-1]
    missed = true_positives[-1] - true_positives
    f = (1 + beta**2) * true_positives / ((1 + beta**2) * true_positives + beta**2 * missed + false_positives)
    return round(float(np.clip(distinct[int(np.argmax(f))], 1e-3, 1.0)), 4)


def name_threshold(confidence: npt.NDArray[np.floating[Any]], right: Bools, precision: float) -> float:
    """Return the lowest confidence from which at least the given share of names is right.

    Where no such confidence exists, the one with the best share is taken; without any name, 0.5.
    """
    if len(confidence) == 0:
        return 0.5
    order = np.argsort(-confidence, kind="stable")
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(share >= precision)
    index = int(good[-1]) if len(good) else int(np.argmax(share))
    return round(float(np.clip(confidence[order][index], 0.05, 0.95)), 3)
