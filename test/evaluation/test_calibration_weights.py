# SPDX-License-Identifier: Apache-2.0
"""Source weights: learned, fitted, tuned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.fusion_weights import (
    EQUAL,
    figures,
    fuse,
    learned_weights,
    logistic_weights,
    tuned_weights,
    weight_grid,
)

WAYS = [learned_weights, logistic_weights, tuned_weights]


def noisy(truth: Any, rng: np.random.Generator, gain: float) -> Any:
    return np.clip(0.3 + gain * truth + 0.1 * rng.normal(size=len(truth)), 0, 1).astype(np.float32)


def test_weight_grid_covers_the_simplex() -> None:
    grid = weight_grid(0.25)
    assert len(grid) == len(set(grid)) == 15
    assert all(sum(w) == pytest.approx(1) and min(w) >= 0 for w in grid)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("informative", [0, 1, 2])
def test_the_source_that_knows_gets_the_weight(way: Any, informative: int) -> None:
    rng = np.random.default_rng(3)
    anomalous = rng.random(4000) < 0.1
    sources = rng.random((3, 4000)).astype(np.float32)
    sources[informative] = noisy(anomalous, rng, 0.4)
    weights = way(sources, anomalous)
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0
    assert weights[informative] >= 0.8


def test_a_source_that_speaks_against_gets_none() -> None:
    rng = np.random.default_rng(4)
    anomalous = rng.random(4000) < 0.2
    sources = np.stack([noisy(anomalous, rng, -0.2), noisy(anomalous, rng, 0.2), noisy(anomalous, rng, 0.2)])
    first, second, third = logistic_weights(sources, anomalous)
    assert first == 0
    assert second == pytest.approx(third, abs=0.1)


def test_the_fit_finds_the_best_mixture_of_independent_witnesses() -> None:
    """Equal noise: the best weights are in the proportion of the gains, here 1 to 2 to 3."""
    rng = np.random.default_rng(6)
    anomalous = rng.random(40_000) < 0.3
    sources = np.stack([0.3 + g * anomalous + 0.1 * rng.normal(size=40_000) for g in (0.03, 0.06, 0.09)])
    weights = logistic_weights(sources.astype(np.float32), anomalous)
    assert weights == pytest.approx((1 / 6, 2 / 6, 3 / 6), abs=0.03)


def test_learned_is_ahead_of_the_fit_and_of_the_coarse_grid() -> None:
    rng = np.random.default_rng(7)
    anomalous = rng.random(5000) < 0.05
    sources = np.stack([noisy(anomalous, rng, g) for g in (0.1, 0.25, 0.05)])
    sources[0, ~anomalous & (rng.random(5000) < 0.02)] = 1  # a few loud false alarms, which a likelihood hardly sees

    def auprc(weights: Any) -> float:
        return figures(fuse(weights, sources), anomalous)[0]

    learned = auprc(learned_weights(sources, anomalous))
    assert learned > auprc(logistic_weights(sources, anomalous))
    assert learned >= max(auprc(weights) for weights in weight_grid(0.2))


def test_sources_that_know_nothing_leave_the_fit_at_equal_weights() -> None:
    anomalous = np.arange(100) < 10
    assert logistic_weights(np.full((3, 100), 0.5, np.float32), anomalous) == pytest.approx(EQUAL, abs=1e-3)


@pytest.mark.parametrize(
    ("value", "anomalous", "said"),
    [
        (np.nan, np.arange(10) < 5, "NaN or infinite"),
        (0.5, np.zeros(10, bool), "one kind"),
        (0.5, np.ones(10, bool), "one kind"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(value: float, anomalous: Any, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        learned_weights(np.full((3, 10), value, np.float32), anomalous)
