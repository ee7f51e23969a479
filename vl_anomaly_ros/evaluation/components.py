# SPDX-License-Identifier: Apache-2.0
"""Component metrics of SegmentMeIfYouCan: how much of each anomaly is found, and how much of what is found is one.

Definitions: Chan et al., "SegmentMeIfYouCan: A Benchmark for Anomaly Segmentation" (NeurIPS 2021, arXiv 2104.14812),
section 3, with the sizes and the order of steps of the benchmark's code:

1. The prediction is what scores at least the threshold, without void; its 8-connected components below
   `min_predicted_px` are dropped. So void cuts components.
2. The 8-connected components of the labelled anomalies below `min_true_px` count as void from here on.
3. For a true component k and the predicted components that touch it, Q(k):
   sIoU(k) = |k and Q| / (|k or Q| - |parts of Q that lie on other true components|).
4. For a predicted component: PPV = share of its pixels that lie on true components.
5. At each threshold t in 0.25, 0.30, ..., 0.75, over all images: a true component with sIoU >= t is a true positive,
   else a false negative; a predicted one with PPV < t is a false positive. F1 is averaged over t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.metrics import ANOMALY, NORMAL

Ratios = npt.NDArray[np.float64]
THRESHOLDS: Ratios = np.linspace(0.25, 0.75, 11)


@dataclass(frozen=True)
class Track:
    """Which components are large enough to count.

    Attributes:
        min_predicted_px: fewer pixels are no predicted component.
        min_true_px: fewer pixels are no true component; they are void.
    """

    min_predicted_px: int
    min_true_px: int


TRACKS = {"AnomalyTrack": Track(500, 100), "ObstacleTrack": Track(50, 10)}


@dataclass(frozen=True)
class ComponentFigures:
    """Result over all components of all images; None where it is a mean over nothing.

    Attributes:
        siou_gt: mean sIoU of the true components; None without any.
        ppv: mean PPV of the predicted components; None without any.
        f1_mean: mean over the thresholds of F1; None where there is neither a true nor a predicted component.
        true_components, predicted_components: how many counted.
    """

    siou_gt: float | None
    ppv: float | None
    f1_mean: float | None
    true_components: int
    predicted_components: int


class ComponentMetrics:
    """Collects components image by image.

    Args:
        track: the sizes that count.
        threshold: scores of at least this are predicted anomalies. (The benchmark's code takes those above one.)

    Raises:
        EvaluationError: the threshold is not finite.

    >>> metrics = ComponentMetrics(Track(1, 1), threshold=0.5)
    >>> metrics.update(np.array([[0.0, 0.9, 0.9]]), np.array([[0, 0, 1]], np.uint8))
    >>> metrics.compute()  # F1 is 1 up to a threshold of 0.5, which both 1/2 reach, and 0 above: 6 of 11
    ComponentFigures(siou_gt=0.5, ppv=0.5, f1_mean=0.5454545454545454, true_components=1, predicted_components=1)
    """

    def __init__(self, track: Track, threshold: float) -> None:
        if not np.isfinite(threshold):
            raise EvaluationError(f"components: expected a finite threshold, got {threshold}")
        self._track, self._threshold = track, threshold
        self.reset()

    def reset(self) -> None:
        """Forget everything seen so far."""
        self._siou: list[Ratios] = []
        self._ppv: list[Ratios] = []

    def update(self, scores: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]) -> None:
        """Add an image.

        Args:
            scores: (H, W), not NaN where labelled.
            labels: (H, W), 0 normal, 1 anomalous, anything else is void.

        Raises:
            EvaluationError: the shapes differ or have other than two axes, or a labelled score is NaN.
        """
        if scores.shape != labels.shape or scores.ndim != 2:
            raise EvaluationError(
                f"components: expected scores and labels of one shape (H, W), got {scores.shape} and {labels.shape}"
            )
        labelled = (labels == NORMAL) | (labels == ANOMALY)
        if (np.isnan(scores) & labelled).any():
            raise EvaluationError("components: a score is NaN; the method gave no value for a pixel")
        if labels.size:
            predicted = scores.astype(np.float64, copy=False) >= self._threshold  # which float32 might round
            siou, ppv = matched(predicted & labelled, labels == ANOMALY, self._track)
            self._siou.append(siou)
            self._ppv.append(ppv)

    def compute(self) -> ComponentFigures:
        """The figures over everything seen."""
        siou, ppv = (np.concatenate([np.empty(0), *parts]) for parts in (self._siou, self._ppv))
        f1 = []
        for threshold in THRESHOLDS:
            found, false = int((siou >= threshold).sum()), int((ppv < threshold).sum())
            f1.append(2 * found / max(found + siou.size + false, 1))
        return ComponentFigures(
            siou_gt=float(siou.mean()) if siou.size else None,
            ppv=float(ppv.mean()) if ppv.size else None,
            f1_mean=float(np.mean(f1)) if siou.size or ppv.size else None,
            true_components=siou.size,
            predicted_components=ppv.size,
        )


def matched(predicted: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_], track: Track) -> tuple[Ratios, Ratios]:
    """The sIoU of each true component of an image and the PPV of each predicted one, in no particular order.

    Args:
        predicted: (H, W), void already left out.
        true: (H, W).
        track: the sizes that count.
    """
    true_ids, true_px = _components(true)
    predicted_ids, predicted_px = _components(predicted)
    true_kept, predicted_kept = true_px >= track.min_true_px, predicted_px >= track.min_predicted_px
    true_kept[0] = predicted_kept[0] = False  # the background
    # Every pair of a true and a predicted component that share pixels, and how many.
    both = predicted & true
    pairs = true_ids[both].astype(np.int64) * predicted_px.size + predicted_ids[both]
    pair, shared = np.unique(pairs, return_counts=True)
    of_true, of_predicted = np.divmod(pair, predicted_px.size)
    # Parts of predictions on true components that are too small are void by now.
    on_void = ~true_kept[of_true]
    left_px = predicted_px - np.bincount(of_predicted[on_void], shared[on_void], predicted_px.size).astype(np.int64)
    predicted_kept &= left_px > 0
    meets = true_kept[of_true] & predicted_kept[of_predicted]
    of_true, of_predicted, shared = of_true[meets], of_predicted[meets], shared[meets]

    on_true = np.bincount(of_predicted, shared, predicted_px.size)
    intersection = np.bincount(of_true, shared, true_px.size)
    beside = np.bincount(of_true, (left_px - on_true)[of_predicted], true_px.size)  # of Q, on no true component
    # |k or Q| less what of Q lies on other true components: k itself and what of Q lies on none.
    siou = intersection[true_kept] / (true_px + beside)[true_kept]
    return siou, on_true[predicted_kept] / left_px[predicted_kept]


def _components(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """(H, W) number of each pixel's 8-connected component, 0 for the background; and the pixels of each."""
    _, ids, statistics, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask, np.uint8), connectivity=8)
    return np.asarray(ids, np.int32), statistics[:, cv2.CC_STAT_AREA].astype(np.int64)
