# SPDX-License-Identifier: Apache-2.0
"""Learned weights against equal ones and against those tuned by hand, on sets that the calibration never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vl_anomaly_ros.engine.calibration import Calibration
from vl_anomaly_ros.evaluation.anomaly import BundleRunner
from vl_anomaly_ros.evaluation.calibration import reliability_block
from vl_anomaly_ros.evaluation.calibration_budget import BudgetSettings, JudgedFrame, operate
from vl_anomaly_ros.evaluation.calibration_curve import at_prior
from vl_anomaly_ros.evaluation.calibration_samples import HeadSetting, SettingGrid, collect
from vl_anomaly_ros.evaluation.fusion_weights import (
    EQUAL,
    Weights,
    figures,
    fuse,
    tuned_weights,
)
from vl_anomaly_ros.evaluation.image_set import LabelledImage
from vl_anomaly_ros.evaluation.metrics import ANOMALY
from vl_anomaly_ros.evaluation.reliability import Reliability
from vl_anomaly_ros.perception.scoring import calibrated

CONVEX, LEARNED, EQUAL_NAME, TUNED = "logistic fit", "learned", "equal", "tuned on the set"


@dataclass(frozen=True)
class Row:
    """One way of weighing on one set."""

    way: str
    weights: Weights
    auprc: float
    fpr95: float


@dataclass(frozen=True)
class SetResult:
    """What a calibration does on a set that it was not made on.

    Attributes:
        name: of the set.
        images: how many.
        anomaly_share: share of anomalous pixels in it.
        rows: by way of weighing.
        reliability: of the learned probabilities, re-weighted to the share of this set.
        false_regions: mean number a frame at the calibration's threshold.
        objects_found: share of true anomalous areas that a region touches at that threshold.
        objects: how many these are.
    """

    name: str
    images: int
    anomaly_share: float
    rows: tuple[Row, ...]
    reliability: dict[str, Any]
    false_regions: float
    objects_found: float | None
    objects: int

    @property
    def behind_tuned(self) -> float:
        """AuPRC that the learned weights lose to those tuned on the set itself."""
        by_way = {row.way: row.auprc for row in self.rows}
        return by_way[TUNED] - by_way[LEARNED]

    def to_mapping(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "behind_tuned": self.behind_tuned}


def compare(
    runner: BundleRunner,
    name: str,
    images: Iterable[LabelledImage],
    found: dict[str, Any],
    budget: BudgetSettings,
    progress: Callable[[int], None] = lambda _: None,
) -> SetResult:
    """Judge a calibration on another set. All ways of weighing have the calibration's temperatures.

    Args:
        runner: the bundle.
        name: of the set.
        images: labelled, of the network's size.
        found: what `calibrate` returned.
        budget: what counts as a false region.
        progress: called with the number of images done.

    Raises:
        EvaluationError: no anomalous or no normal pixel among the images.
    """
    calibration = Calibration.from_mapping(found)
    (aligned_tau, clip_tau), dense = calibration.temperatures, calibration.clip_dense_weight
    grid = SettingGrid((aligned_tau,), (clip_tau * runner.bundle.logit_scale,), (dense,))
    samples = collect(runner, images, grid, 64, progress)
    clip_setting = next(iter(samples.clip))
    truth, maps = samples.truth(), samples.sources(HeadSetting(aligned_tau, *clip_setting))
    used = truth <= ANOMALY
    sources, anomalous = maps[:, used], truth[used] == ANOMALY

    first, second, third = calibration.source_weights
    total = first + second + third
    learned: Weights = (first / total, second / total, third / total)
    ways = {
        LEARNED: learned,
        EQUAL_NAME: EQUAL,
        CONVEX: tuple(found["report"]["logistic_fit"]),
        TUNED: max((learned, tuned_weights(sources, anomalous)), key=lambda w: figures(fuse(w, sources), anomalous)[0]),
    }
    rows = tuple(Row(way, weights, *figures(fuse(weights, sources), anomalous)) for way, weights in ways.items())

    score = fuse(learned, maps.reshape(3, -1)).reshape(truth.shape)
    probability = calibrated(score, calibration.score, calibration.probability)
    share, stated = float(anomalous.mean()), float(found["report"]["anomaly_share"]["of_the_probabilities"])
    reliability = Reliability()
    reliability.update(at_prior(probability, stated, share), truth)
    frames = [JudgedFrame(one, label) for one, label in zip(probability, samples.label)]
    operation = operate(frames, calibration.threshold, budget)
    return SetResult(
        name=name,
        images=len(frames),
        anomaly_share=share,
        rows=rows,
        reliability=reliability_block(reliability.compute()),
        false_regions=operation.false_regions,
        objects_found=operation.objects_found,
        objects=operation.objects,
    )


def table(results: Sequence[SetResult]) -> str:
    """The results as Markdown."""
    lines = ["| set | weights | detector, text, CLIP | AuPRC | FPR95 |", "| --- | --- | --- | --- | --- |"]
    for result in results:
        lines += [
            f"| {result.name} | {row.way} | {', '.join(f'{w:.3f}' for w in row.weights)} | {row.auprc:.4f} "
            f"| {row.fpr95:.4f} |"
            for row in result.rows
        ]
    lines += [
        "",
        "| set | images | anomalous pixels | ECE | ECE above the lowest bin | false regions a frame | objects found |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        above = result.reliability["ece_above"]
        lines.append(
            f"| {result.name} | {result.images} | {100 * result.anomaly_share:.2f} % "
            f"| {result.reliability['ece']:.4f} | {'-' if above is None else format(above, '.3f')} "
            f"| {result.false_regions:.2f} | {_percent(result.objects_found)} of {result.objects} |"
        )
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def mean_behind_tuned(results: Sequence[SetResult]) -> float:
    """Mean AuPRC that the learned weights lose to those tuned on each set itself."""
    return float(np.mean([result.behind_tuned for result in results]))
