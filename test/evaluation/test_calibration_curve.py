# SPDX-License-Identifier: Apache-2.0
"""From a score to a probability, and from one share of anomalies to another."""

from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.engine.calibration import Calibration
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.calibration_curve import MAX_KNOTS, at_prior, isotonic_map


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


def test_another_prior_is_what_counting_says() -> None:
    # Two scores. Of 1000 anomalous pixels 800 are high, of 9000 normal ones 900: share 0.1, P(high) = 800 / 1700.
    at_a_tenth = [200 / 8300, 800 / 1700]
    # A hundredth of the anomalous pixels, 10: 8 are high, of the same 9000 normal ones still 900.
    assert at_prior(at_a_tenth, 0.1, 10 / 9010) == pytest.approx([2 / 8102, 8 / 908])
    assert at_prior(at_a_tenth, 0.1, 0.1) == pytest.approx(at_a_tenth)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(EvaluationError, match="above 0 and below 1"):
        at_prior([0.5], 0.5, share)
    with pytest.raises(EvaluationError, match="above 0 and below 1"):
        at_prior([0.5], share, 0.5)
