# SPDX-License-Identifier: Apache-2.0
"""Learn a bundle's calibration from labelled images: weights, temperatures, probability map, thresholds.

The paper tunes the source weights by hand, per data set; here they are learned from a set with known outliers, recorded
or pasted, isotonic regression maps the fused score to a probability, and the threshold follows from a budget of false
regions a frame. Needs ONNX Runtime, no PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.engine.calibration import DEFAULT_METHOD
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.anomaly import BundleRunner
from vl_anomaly_ros.evaluation.calibration_budget import BudgetSettings, JudgedFrame, threshold_for_budget, why
from vl_anomaly_ros.evaluation.calibration_curve import at_prior, check_share, isotonic_map
from vl_anomaly_ros.evaluation.calibration_samples import (
    Chosen,
    HeadSetting,
    SettingGrid,
    choose,
    choose_temperatures,
    collect,
)
from vl_anomaly_ros.evaluation.fusion_weights import Bools, figures, fuse
from vl_anomaly_ros.evaluation.image_set import LabelledImage
from vl_anomaly_ros.evaluation.metrics import ANOMALY
from vl_anomaly_ros.evaluation.reliability import Reliability, ReliabilityFigures
from vl_anomaly_ros.perception.scoring import calibrated
from vl_anomaly_ros.types import ByteArray, FloatArray


@dataclass(frozen=True)
class CalibrationSettings:
    """What is tried, and the rules for the two thresholds.

    Attributes:
        grid: settings of the head that are tried.
        budget: false regions allowed a frame, for the threshold.
        prior: share of anomalous pixels for which the probabilities shall hold; None: that of the images.
        name_precision: the name threshold is the lowest confidence from which at least this share of names is
            right.
        min_region_px: smaller true regions do not count for naming.
    """

    grid: SettingGrid = field(default_factory=SettingGrid)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    prior: float | None = None
    name_precision: float = 0.5
    min_region_px: int = 64

    def __post_init__(self) -> None:
        if self.prior is not None:
            check_share("stated", self.prior)


def calibrate(
    runner: BundleRunner,
    images: Iterable[LabelledImage],
    settings: CalibrationSettings | None = None,
    measured_on: str = "labelled images",
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Return the contents of calibration.yaml.

    Beside what the engine reads there is `report`: what was measured, and for which share of anomalous pixels, image
    size and budget it holds. The calibration error is of held-out images: each half is judged by the map of the other.

    Args:
        runner: the bundle; of its own calibration only the name threshold is kept, and only where no name can be
            judged.
        images: labelled images of the network's size, none of them seen in training.
        settings: what is tried, and the rules.
        measured_on: recorded for people.
        progress: called with the number of images done.

    Raises:
        EvaluationError: no anomalous or no normal pixel among the images, fewer than two images, or no probability
            is high enough for a threshold.
    """
    settings = settings or CalibrationSettings()
    samples = collect(runner, images, settings.grid, settings.min_region_px, progress)
    truth = samples.truth()
    if runner.method == DEFAULT_METHOD:
        chosen = choose(samples)
        score = fuse(chosen.weights, samples.sources(chosen.setting).reshape(3, -1)).reshape(truth.shape)
        how = "Weights: the best AuPRC found from a logistic fit on."
    else:
        kept = runner.calibration  # of weights and shares; the method sets its own
        setting = HeadSetting(*choose_temperatures(samples), kept.clip_dense_weight)
        chosen = Chosen(kept.source_weights, kept.source_weights, setting)
        score = np.stack(samples.score[setting.aligned_tau, setting.clip_tau])
        how = f"Temperatures of {runner.method}: the best AuPRC."
    used = truth <= ANOMALY
    anomalous = truth[used] == ANOMALY
    share = float(anomalous.mean())
    prior = share if settings.prior is None else settings.prior

    knots, probability = isotonic_map(score[used], anomalous)
    if settings.prior is not None:
        probability = np.round(at_prior(probability, share, prior), 8).tolist()
    maps = calibrated(score, knots, probability)
    frames = [JudgedFrame(one, label) for one, label in zip(maps, samples.label)]
    operation = threshold_for_budget(frames, settings.budget)
    reliability = held_out(score, truth)
    auprc, fpr95 = figures(score[used], anomalous)
    height, width = samples.label[0].shape
    return {
        "source_weights": [round(float(w), 4) for w in chosen.weights],
        "temperatures": [float(chosen.setting.aligned_tau), float(chosen.setting.clip_tau)],
        "clip_dense_weight": float(chosen.setting.clip_dense_weight),
        "probability": {"score": knots, "probability": probability},
        "threshold": operation.threshold,
        "min_name_confidence": name_threshold(
            np.array(samples.name_confidence), np.array(samples.names_right, bool), settings.name_precision,
            runner.calibration.min_name_confidence,
        ),
        "measured_on": (
            f"{measured_on}: {len(frames)} images of {width}x{height} pixels. {how} Probabilities hold where a share "
            f"of {prior:.3g} of the pixels is anomalous. Threshold: {why(operation, settings.budget)}."
        ),
        "report": {
            "logistic_fit": [round(float(w), 4) for w in chosen.logistic],
            "auprc": round(auprc, 4),
            "fpr95": round(fpr95, 4),
            "anomaly_share": {"of_the_images": round(share, 6), "of_the_probabilities": round(prior, 6)},
            "false_regions_per_frame": {
                "allowed": settings.budget.false_regions,
                "measured": round(operation.false_regions, 4),
                "min_area_px": settings.budget.min_area_px,
                "min_true_share": settings.budget.min_true_share,
            },
            "objects_found": {
                "share": None if operation.objects_found is None else round(operation.objects_found, 4),
                "of": operation.objects,
            },
            "reliability": reliability_block(reliability),
        },
    }  # fmt: skip


def held_out(score: FloatArray, truth: ByteArray) -> ReliabilityFigures:
    """Reliability where even images are judged by the map of the odd ones, and the other way round.

    Args:
        score: (images, h, w).
        truth: the same shape; 0 normal, 1 anomaly, 255 void.

    Raises:
        EvaluationError: fewer than two images.
    """
    if len(score) < 2:
        raise EvaluationError(f"calibration: expected at least 2 images, got {len(score)}")
    reliability = Reliability()
    for first in (0, 1):
        known, label = score[first::2], truth[first::2]
        used = label <= ANOMALY
        if used.any():
            curve = isotonic_map(known[used], label[used] == ANOMALY)
            reliability.update(calibrated(score[1 - first :: 2], *curve), truth[1 - first :: 2])
    return reliability.compute()


def reliability_block(found: ReliabilityFigures) -> dict[str, Any]:
    """Plain values of a reliability table.

    Nearly all pixels are normal and lie in the lowest bin, where any map is right; `ece_above` is the same error over
    the pixels above that bin alone.
    """
    above = [one for one in found.bins[1:] if one.probability is not None and one.observed is not None]
    count = sum(one.count for one in above)
    gaps = sum(one.count * abs((one.probability or 0) - (one.observed or 0)) for one in above)
    return {
        "ece": round(found.ece, 5),
        "ece_above": round(gaps / count, 4) if count else None,
        "above": round(found.bins[0].high, 4),
        "bins": [
            {"probability": round(one.probability, 5), "observed": round(one.observed, 5), "pixels": one.count}
            for one in found.bins if one.probability is not None and one.observed is not None
        ],
    }  # fmt: skip


def name_threshold(
    confidence: npt.NDArray[np.floating[Any]], right: Bools, precision: float, default: float = 0.5
) -> float:
    """Return the lowest confidence from which at least the given share of names is right.

    Where no such confidence exists, the one with the best share is taken; without any name, `default`.
    """
    if len(confidence) == 0:
        return default
    order = np.argsort(-confidence, kind="stable")
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(share >= precision)
    index = int(good[-1]) if len(good) else int(np.argmax(share))
    return round(float(np.clip(confidence[order][index], 0.05, 0.95)), 3)
