# SPDX-License-Identifier: Apache-2.0
"""The lowest threshold that keeps false alarms within a budget: false regions a frame, extracted as live."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.config import RegionConfig
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.metrics import ANOMALY, NORMAL
from vl_anomaly_ros.perception.regions import find_regions
from vl_anomaly_ros.types import ByteArray, DoubleArray, FloatArray, ScoreMap

log = logging.getLogger(__name__)

LOWEST = 1e-4
_COARSE, _FINE = 24, 12
_MAX_REGIONS = 65535  # none are merged: each false one counts


@dataclass(frozen=True)
class BudgetSettings:
    """What counts as a false alarm and how many are allowed.

    Attributes:
        false_regions: mean number allowed a frame.
        min_area_px: smaller regions are left out, as `regions.min_area_px` does live.
        min_true_share: a region is false where fewer of its labelled pixels than this share are anomalous. A region of
            void alone is neither true nor false.
    """

    false_regions: float = 0.5
    min_area_px: int = RegionConfig().min_area_px
    min_true_share: float = 0.1

    def __post_init__(self) -> None:
        if not self.false_regions > 0:
            raise EvaluationError(
                f"false positives per frame: expected a number above 0, got {self.false_regions}; "
                "no threshold is known to give none at all"
            )
        if self.min_area_px < 1 or not 0 < self.min_true_share <= 1:
            raise EvaluationError(
                "calibration: expected min_area_px of at least 1 and min_true_share above 0 and up to 1, got "
                f"{self.min_area_px} and {self.min_true_share}"
            )


@dataclass(frozen=True)
class JudgedFrame:
    """A probability map and its truth.

    Attributes:
        probability: (h, w) float32 at mask resolution.
        label: (H, W) uint8 at the image's: 0 normal, 1 anomaly, 255 void.
    """

    probability: FloatArray
    label: ByteArray

    @cached_property
    def score_map(self) -> ScoreMap:
        """As live; sources, classes and features, on which regions do not depend, are empty."""
        h, w = self.probability.shape
        height, width = self.label.shape
        return ScoreMap(
            probability=self.probability,
            sources=np.zeros((3, h, w), np.float32),
            class_map=np.zeros((h, w), np.int32),
            clip_features=np.zeros((1, 1, 1), np.float32),
            width=width,
            height=height,
        )

    def objects(self, min_area_px: int) -> npt.NDArray[np.int32]:
        """(H, W) numbers of the connected anomalous areas from 1 on, 0 elsewhere and where they are smaller."""
        _, numbers, stats, _ = cv2.connectedComponentsWithStats((self.label == ANOMALY).astype(np.uint8))
        numbers[stats[numbers, cv2.CC_STAT_AREA] < min_area_px] = 0
        return np.asarray(numbers, np.int32)


@dataclass(frozen=True)
class Operation:
    """What a threshold does on the frames it was judged on.

    Attributes:
        threshold: probability from which a pixel counts, inclusive.
        false_regions: mean number a frame.
        objects_found: share of the true anomalous areas that any region touches; None where there are none.
        objects: how many these are.
        frames: how many.
    """

    threshold: float
    false_regions: float
    objects_found: float | None
    objects: int
    frames: int


def operate(frames: Sequence[JudgedFrame], threshold: float, settings: BudgetSettings) -> Operation:
    """What `threshold` does on `frames`."""
    false, found, objects = 0, 0, 0
    for frame in frames:
        regions = find_regions(
            frame.score_map, threshold=threshold, min_area_px=settings.min_area_px, max_regions=_MAX_REGIONS
        )
        false += _false_regions(regions.instances, len(regions.regions), frame.label, settings.min_true_share)
        numbers = frame.objects(settings.min_area_px)
        objects += len(np.unique(numbers[numbers > 0]))
        found += len(np.unique(numbers[(numbers > 0) & (regions.instances > 0)]))
    return Operation(threshold, false / len(frames), found / objects if objects else None, objects, len(frames))


def _false_regions(instances: npt.NDArray[np.uint16], count: int, label: ByteArray, min_true_share: float) -> int:
    normal = np.bincount(instances[label == NORMAL], minlength=count + 1)[1:]
    anomalous = np.bincount(instances[label == ANOMALY], minlength=count + 1)[1:]
    labelled = normal + anomalous
    return int(np.count_nonzero((labelled > 0) & (anomalous < min_true_share * labelled)))


def threshold_for_budget(frames: Sequence[JudgedFrame], settings: BudgetSettings) -> Operation:
    """The lowest threshold down to which the budget holds at every threshold tried, and what it does.

    Regions merge as the threshold falls, so that fewer of them are not a sign of a better threshold: the search goes
    downwards and stops where the budget is first exceeded.

    Where even the highest probability gives too many, it is taken all the same, with a warning: alarms too many are
    better than none.

    Raises:
        EvaluationError: no frames, or no probability above `LOWEST`.
    """
    if not frames:
        raise EvaluationError("calibration: expected frames to choose a threshold on, got none")
    highest = max(float(frame.probability.max()) for frame in frames)
    if highest <= LOWEST:
        raise EvaluationError(
            f"calibration: no probability is above {LOWEST}, no threshold can find anything; the sources do not tell "
            "anomalies apart, or the stated share of anomalous pixels is too small"
        )
    best = operate(frames, _rounded(highest), settings)
    if best.false_regions > settings.false_regions:
        log.warning(
            "false positives per frame: expected at most %g, got %.3g at the highest probability, which becomes the "
            "threshold; allow more, or train a better bundle", settings.false_regions, best.false_regions,
        )  # fmt: skip
        return best
    lower = LOWEST
    for steps in (_COARSE, _FINE):
        for threshold in _between(best.threshold, lower, steps):
            tried = operate(frames, threshold, settings)
            if tried.false_regions > settings.false_regions:
                lower = threshold
                break
            best = tried
        else:
            return best  # all the way down
    return best


def why(operation: Operation, settings: BudgetSettings) -> str:
    """How the threshold was chosen, for people."""
    allowed = f"{settings.false_regions:g} false regions a frame, of at least {settings.min_area_px} px"
    if operation.false_regions > settings.false_regions:
        return f"the highest probability, which gives {operation.false_regions:.3g} of the allowed {allowed}"
    return f"the lowest that keeps to {allowed}"


def _between(upper: float, lower: float, steps: int) -> list[float]:
    """Thresholds below `upper` down to `lower`, evenly spaced in log-odds."""
    ends = np.log([_odds(upper), _odds(lower)])
    logit: DoubleArray = np.linspace(ends[0], ends[1], steps + 1)[1:]
    return [_rounded(value) for value in (1 / (1 + np.exp(-logit))).tolist()]


def _odds(probability: float) -> float:
    p = min(max(probability, 1e-6), 1 - 1e-6)
    return p / (1 - p)


def _rounded(threshold: float) -> float:
    """Downwards: rounding up could put the threshold above every probability."""
    return max(math.floor(threshold * 1e5) / 1e5, LOWEST)
