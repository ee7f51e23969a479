# SPDX-License-Identifier: Apache-2.0
"""From fused scores at mask resolution to a calibrated probability for each pixel of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.types import FloatArray, IntArray, ScoreMap


def score_map_of(
    score: FloatArray,
    sources: FloatArray,
    class_map: IntArray,
    clip_features: FloatArray,
    *,
    curve: tuple[Sequence[float], Sequence[float]],
    width: int,
    height: int,
) -> ScoreMap:
    """The score map of an image of `width` x `height` pixels.

    Calibration comes before upsampling: the curve was measured at mask resolution, where it is also cheap.

    Args:
        score: (h, w) float32, fused score.
        sources: (3, h, w) float32.
        class_map: (h, w) int32.
        clip_features: (D, hc, wc) float32.
        curve: scores and probabilities of the calibration, both of one length.
        width: of the image in pixels.
        height: of the image in pixels.
    """
    probability = calibrated(score, *curve)
    upsampled = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)
    rows, columns = cell_of(height, score.shape[0]), cell_of(width, score.shape[1])
    return ScoreMap(
        # A one-pixel axis makes OpenCV keep the shape; bilinear weights may leave 0..1 by a rounding error.
        probability=np.clip(upsampled.reshape(height, width), 0, 1),
        sources=np.ascontiguousarray(sources),
        class_map=np.ascontiguousarray(class_map[:, columns])[rows],
        clip_features=clip_features,
    )


def calibrated(score: FloatArray, scores: Sequence[float], probabilities: Sequence[float]) -> FloatArray:
    """Probability at each score: piecewise linear between the points of the curve, constant outside; float32.

    >>> calibrated(np.float32([0.0, 0.3, 0.9]), [0.2, 0.4], [0.0, 1.0]).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.interp(score, scores, probabilities).astype(np.float32)


def cell_of(pixels: int, cells: int) -> npt.NDArray[Any]:
    """For each pixel of an axis, the cell of a coarser (or finer) grid over the same extent that holds its centre.

    >>> cell_of(6, 3).tolist(), cell_of(2, 4).tolist()
    ([0, 0, 1, 1, 2, 2], [1, 3])
    """
    return ((np.arange(pixels) + 0.5) * (cells / pixels)).astype(np.intp).clip(0, cells - 1)
