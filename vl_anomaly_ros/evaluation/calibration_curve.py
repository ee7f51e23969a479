# SPDX-License-Identifier: Apache-2.0
"""The monotone map from a fused score to a probability, and for which share of anomalous pixels it holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.types import DoubleArray, FloatArray

Bools = npt.NDArray[np.bool_]
MAX_KNOTS = 64


def isotonic_map(score: FloatArray, anomalous: Bools, max_knots: int = MAX_KNOTS) -> tuple[list[float], list[float]]:
    """Fit a non-decreasing probability of the score by pooling adjacent violators, as few linear pieces.

    The probability holds for the share of anomalous pixels in `anomalous`.

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
    x, y = _pooled(ordered, truth, edges)
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


def _pooled(ordered: DoubleArray, truth: DoubleArray, edges: npt.NDArray[np.int64]) -> tuple[DoubleArray, DoubleArray]:
    """Score and mean truth at both ends of each block that remains when neighbours in the wrong order are pooled.

    Both ends, because the probability is level over a block: a line from the middle of one to that of the next would be
    wrong by half the step over both.
    """
    blocks: list[list[float]] = []  # size, mean truth, lowest score, highest score
    sizes = np.diff(edges)
    means = np.add.reduceat(truth, edges[:-1]) / sizes
    lows, highs = ordered[edges[:-1]], ordered[edges[1:] - 1]
    for block in zip(sizes.tolist(), means.tolist(), lows.tolist(), highs.tolist()):
        blocks.append(list(block))
        while len(blocks) > 1 and blocks[-2][1] >= blocks[-1][1]:
            size, mean, _, high = blocks.pop()
            total = blocks[-1][0] + size
            blocks[-1] = [total, (blocks[-1][0] * blocks[-1][1] + size * mean) / total, blocks[-1][2], high]
    return np.array([b[2:] for b in blocks]).ravel(), np.repeat([b[1] for b in blocks], 2)


def at_prior(probability: npt.ArrayLike, measured: float, stated: float) -> DoubleArray:
    """Probabilities as they are where another share of the pixels is anomalous, by Bayes' rule.

    The scores of anomalous pixels, and of normal ones, are taken to be spread as before (Saerens et al. 2002); only how
    many of each there are differs.

    Args:
        probability: of any shape, at the share `measured`.
        measured: share of anomalous pixels at which the probabilities hold.
        stated: the share wanted.

    Raises:
        EvaluationError: a share is not between 0 and 1.

    >>> at_prior([0.0, 0.5, 1.0], measured=0.5, stated=0.1).round(3).tolist()
    [0.0, 0.1, 1.0]
    """
    check_share("measured", measured)
    check_share("stated", stated)
    p: Any = np.asarray(probability, np.float64)
    for_anomaly = p * (stated / measured)
    return np.asarray(for_anomaly / (for_anomaly + (1 - p) * ((1 - stated) / (1 - measured))), np.float64)


def check_share(name: str, share: float) -> None:
    """Raise `EvaluationError` where `share` is not above 0 and below 1."""
    if not 0 < share < 1:
        raise EvaluationError(
            f"calibration: {name} share of anomalous pixels: expected above 0 and below 1, got {share}; state a share "
            "such as 0.001"
        )
