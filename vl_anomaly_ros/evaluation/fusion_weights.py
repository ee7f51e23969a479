# SPDX-License-Identifier: Apache-2.0
"""Source weights learned from labelled pixels: a convex fit, a search from it, and a grid for tuning by hand.

The head's score is a weighted mean of the sources, so a logistic regression on the source scores with coefficients
that may not be negative is a model that it can carry out: the weights are the coefficients divided by their sum, and
what the fit says of scale and offset is left to the probability map. The likelihood weighs all pixels, though, while
an anomaly detector is judged by its few highest ones; so the fit is a start, and the weights are then moved to where
the AuPRC is best. docs/calibration.md holds what each step is worth.
"""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.metrics import PixelMetrics
from vl_anomaly_ros.types import DoubleArray, FloatArray

Bools = npt.NDArray[np.bool_]
Weights = tuple[float, float, float]
EQUAL: Weights = (1 / 3, 1 / 3, 1 / 3)

_COARSE_STEP, _FINE_STEPS = 0.2, (0.1, 0.05, 0.025)
_SHIFTS = np.array([(1, -1, 0), (-1, 1, 0), (1, 0, -1), (-1, 0, 1), (0, 1, -1), (0, -1, 1)])
_RIDGE = 1e-4
_STEPS = 50
_TOLERANCE = 1e-7

log = logging.getLogger(__name__)


def fuse(weights: Weights, sources: FloatArray) -> FloatArray:
    """The fused score (N,) float32 of the sources (3, N): their mean by weights that sum to 1."""
    return np.asarray(np.asarray(weights, np.float32) @ sources, np.float32)


def figures(score: FloatArray, anomalous: Bools) -> tuple[float, float]:
    """AuPRC and FPR95 of scores (N,)."""
    metrics = PixelMetrics()
    metrics.update(score, anomalous.astype(np.uint8))
    found = metrics.compute()
    return found.auprc, found.fpr95


def learned_weights(sources: FloatArray, anomalous: Bools) -> Weights:
    """Weights, none negative, sum 1, of the best AuPRC that is found from the convex fit and a coarse grid on.

    Args:
        sources: (3, N) float32 scores in 0..1.
        anomalous: (N,).

    Raises:
        EvaluationError: only one kind of pixel is there, or a score is not finite.
    """

    def auprc(weights: Weights) -> float:
        return figures(fuse(weights, sources), anomalous)[0]

    best = max((logistic_weights(sources, anomalous), *weight_grid(_COARSE_STEP)), key=auprc)
    for step in _FINE_STEPS:
        moved = (tuple(np.array(best) + step * shift) for shift in _SHIFTS)
        best = max((best, *(_clipped(weights) for weights in moved)), key=auprc)
    return best


def _clipped(weights: tuple[float, ...]) -> Weights:
    first, second, third = (max(weight, 0.0) for weight in weights)
    total = first + second + third
    return first / total, second / total, third / total


def logistic_weights(sources: FloatArray, anomalous: Bools) -> Weights:
    """Weights of the logistic regression in which both kinds of pixel count alike.

    Args:
        sources: (3, N) float32 scores in 0..1.
        anomalous: (N,).

    Returns:
        Equal weights where no source is higher on anomalies.

    Raises:
        EvaluationError: only one kind of pixel is there, or a score is not finite.
    """
    if not np.isfinite(sources).all():
        raise EvaluationError("calibration: a source score is NaN or infinite; the bundle gave no value for a pixel")
    if not anomalous.any() or anomalous.all():
        raise EvaluationError("calibration: expected normal and anomalous pixels, got one kind; use a set with both")
    coefficients = _fit(sources.astype(np.float64), anomalous)
    total = coefficients.sum()
    if total <= 0:
        log.warning("no source is higher on anomalies than elsewhere: the fit starts from equal weights")
        return EQUAL
    first, second, third = (coefficients / total).tolist()
    return first, second, third


def _fit(sources: DoubleArray, anomalous: Bools) -> DoubleArray:
    """Coefficients (3,) by Newton's method projected on what is not negative (Bertsekas 1982)."""
    design = np.vstack([sources, np.ones(sources.shape[1])])
    truth = anomalous.astype(np.float64)
    balance = np.where(anomalous, 0.5 / truth.sum(), 0.5 / (len(truth) - truth.sum()))
    ridge = np.array([_RIDGE, _RIDGE, _RIDGE, 0.0])

    def loss(theta: DoubleArray) -> float:
        logit = theta @ design
        return float(balance @ (np.logaddexp(0, logit) - truth * logit) + 0.5 * ridge @ theta**2)

    theta = np.zeros(4)
    value = loss(theta)
    for _ in range(_STEPS):
        probability = 1 / (1 + np.exp(-theta @ design))
        gradient = design @ (balance * (probability - truth)) + ridge * theta
        free = (theta > 0) | (gradient < 0)
        free[3] = True  # the offset may have any sign
        hessian = (design * (balance * probability * (1 - probability))) @ design.T + np.diag(ridge + 1e-12)
        step = np.zeros(4)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        previous, length = value, 1.0
        while length > _TOLERANCE:
            moved = theta - length * step
            moved[:3] = np.maximum(moved[:3], 0)
            value = loss(moved)
            if value <= previous:
                theta = moved
                break
            length /= 2
        else:
            break
        if previous - value < _TOLERANCE:
            break
    return theta[:3]


def weight_grid(step: float) -> list[Weights]:
    """The points of the simplex of three weights on a grid.

    >>> len(weight_grid(0.5))
    6
    """
    n = round(1.0 / step)
    return [(i / n, j / n, (n - i - j) / n) for i in range(n + 1) for j in range(n + 1 - i)]


def tuned_weights(sources: FloatArray, anomalous: Bools, step: float = 0.1) -> Weights:
    """The weights of the best AuPRC on a grid: tuning by hand; on the very set that is judged, an upper bound."""
    return max(weight_grid(step), key=lambda weights: figures(fuse(weights, sources), anomalous)[0])
