# SPDX-License-Identifier: Apache-2.0
"""From fused scores to calibrated probabilities, at mask resolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    return ScoreMap(
        probability=calibrated(score, *curve),
        sources=sources,
        class_map=class_map.copy(),  # read when the backend may be at the next frame
        clip_features=clip_features,
        width=width,
        height=height,
    )


def calibrated(score: FloatArray, scores: Sequence[float], probabilities: Sequence[float]) -> FloatArray:
    """Probability at each score: piecewise linear between the points of the curve, constant outside; float32.

    >>> calibrated(np.float32([0.0, 0.3, 0.9]), [0.2, 0.4], [0.0, 1.0]).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.interp(score, scores, probabilities).astype(np.float32)
