# SPDX-License-Identifier: Apache-2.0
"""The parts of the calibration that need no network."""

from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.engine.calibration import Calibration
from vl_anomaly_ros.evaluation.calibration import (
    MAX_KNOTS,
    CalibrationSettings,
    Samples,
    isotonic_map,
    name_threshold,
    search,
    threshold_by_f_beta,
    weight_grid,
)


def test_weight_grid_covers_the_simplex() -> None:
    grid = weight_grid(0.25)
    assert len(grid) == len(set(grid)) == 15
    assert all(sum(w) == pytest.approx(1) and min(w) >= 0 for w in grid)


@pytest.mark.parametrize("informative", [0, 1, 2])
def test_search_gives_its_weight_to_the_source_that_knows(informative: int) -> None:
    rng = np.random.default_rng(3)
    anomalous = rng.random(4000) < 0.1
    sources = [rng.random(4000).astype(np.float32) for _ in range(3)]
    sources[informative] = (0.5 * anomalous + 0.5 * rng.random(4000)).astype(np.float32)
    samples = Samples(
        anomalous=[anomalous], detector=[sources[0]], text={0.1: [sources[1]]}, clip={(0.1, 0.5): [sources[2]]}
    )
    found = search(samples, CalibrationSettings())
    assert np.argmax(found.weights) == informative
    assert found.weights[informative] >= 0.8


def test_search_prefers_the_better_temperature() -> None:
    rng = np.random.default_rng(4)
    anomalous = rng.random(4000) < 0.1
    good, other = ((0.4 * anomalous + 0.6 * rng.random(4000)).astype(np.float32) for _ in range(2))
    noise = rng.random(4000).astype(np.float32)
    samples = Samples(
        anomalous=[anomalous], detector=[noise], text={0.1: [noise], 0.2: [good]},
        clip={(0.1, 0.0): [noise], (0.1, 1.0): [other]},
    )  # fmt: skip
    found = search(samples, CalibrationSettings())
    assert (found.aligned_tau, found.dense) == (0.2, 1.0)


def test_isotonic_map_recovers_a_probability() -> None:
    rng = np.random.default_rng(5)
    score = rng.random(200_000).astype(np.float32)
    truth = 1 / (1 + np.exp(-12 * (score - 0.6)))
    anomalous = rng.random(len(score)) < truth
    knots, probability = isotonic_map(score, anomalous)
    assert 2 <= len(knots) == len(probability) <= MAX_KNOTS
    assert (np.diff(knots) > 0).all()
    assert (np.diff(probability) >= 0).all()
    middle = (score > 0.05) & (score < 0.95)
    assert np.abs(np.interp(score, knots, probability) - truth)[middle].max() < 0.06


def test_isotonic_map_never_falls_where_the_data_does() -> None:
    score = np.linspace(0, 1, 1000).astype(np.float32)
    knots, probability = isotonic_map(score, score < 0.5)  # the score is upside down
    assert probability == pytest.approx([0.5] * len(knots), abs=0.01)


def test_a_degenerate_map_still_loads() -> None:
    knots, probability = isotonic_map(np.full(100, 0.3, np.float32), np.arange(100) < 10)
    Calibration((1, 1, 1), (0.1, 0.1), 0.5, tuple(knots), tuple(probability), 0.5, 0.3)


def test_threshold_separates_and_weighs_misses() -> None:
    probability = np.array([0.1] * 90 + [0.4] * 10 + [0.4] * 5 + [0.9] * 5)
    anomalous = np.array([False] * 100 + [True] * 10)
    # At 0.9: precision 1, recall 0.5. At 0.4: precision 0.5, recall 1.
    assert threshold_by_f_beta(probability, anomalous, beta=2.0) == pytest.approx(0.4)
    assert threshold_by_f_beta(probability, anomalous, beta=0.5) == pytest.approx(0.9)


def test_name_threshold_keeps_the_wanted_precision() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, True, True, False, False])
    assert name_threshold(confidence, right, 0.75) == pytest.approx(0.6)  # 3 of 4
    assert name_threshold(confidence, right, 1.0) == pytest.approx(0.7)
    assert name_threshold(np.zeros(0), np.zeros(0, bool), 0.8) == 0.5
