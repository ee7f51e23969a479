# SPDX-License-Identifier: Apache-2.0
"""The calibration error against sums written out."""

from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.reliability import DEFAULT_BINS, Reliability


def test_table_and_error_written_out() -> None:
    """4 bins. 0.0, 0.2 | 0.25 | none | 0.75, 1.0, 1.0: the lower edge belongs to the bin, 1 to the last one."""
    reliability = Reliability(bins=4)
    reliability.update(np.array([[0.0, 0.2, 0.25], [0.75, 1.0, 1.0]]), np.array([[0, 1, 0], [1, 1, 0]]))
    figures = reliability.compute()
    assert [row.count for row in figures.bins] == [2, 1, 0, 3]
    assert [row.probability for row in figures.bins] == pytest.approx([0.1, 0.25, None, 2.75 / 3])
    assert [row.observed for row in figures.bins] == pytest.approx([0.5, 0.0, None, 2 / 3])
    # (2 |0.1 - 0.5| + 1 |0.25 - 0| + 3 |2.75/3 - 2/3|) / 6 = (0.8 + 0.25 + 0.75) / 6
    assert figures.ece == pytest.approx(0.3)
    assert figures.pixels == 6


def test_probabilities_that_hold_have_a_small_error_and_others_a_large_one() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(200_000)
    labels = (rng.random(truth.size) < truth).astype(np.uint8)
    held, overrated = Reliability(), Reliability()
    held.update(truth, labels)
    overrated.update(np.sqrt(truth), labels)  # mean 2/3 instead of 1/2, too high everywhere
    assert len(held.compute().bins) == DEFAULT_BINS
    assert held.compute().ece < 0.01
    assert overrated.compute().ece == pytest.approx(1 / 6, abs=0.01)


def test_images_add_up_and_void_is_ignored() -> None:
    rng = np.random.default_rng(1)
    probability = rng.random((3, 5, 7)).astype(np.float32)
    labels = rng.choice(np.array([0, 1, 255], np.uint8), (3, 5, 7))
    together, apart = Reliability(), Reliability()
    together.update(probability, labels)
    for image, label in zip(probability, labels):
        apart.update(np.where(label == 255, np.float32("nan"), image), label)
    assert apart.compute().ece == pytest.approx(together.compute().ece, abs=1e-12)
    assert apart.compute().pixels == int((labels != 255).sum())


def test_one_kind_of_pixels_is_enough() -> None:
    reliability = Reliability()
    reliability.update(np.full(10, 0.2), np.zeros(10, np.uint8))
    assert reliability.compute().ece == pytest.approx(0.2)
    reliability.reset()
    reliability.update(np.full(10, 0.2), np.ones(10, np.uint8))
    assert reliability.compute().ece == pytest.approx(0.8)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.01, 1.01])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(EvaluationError, match="from 0 to 1"):
        Reliability().update(np.array([0.5, wrong]), np.array([0, 1]))


def test_useless_input_is_refused() -> None:
    reliability = Reliability()
    reliability.update(np.array([0.5]), np.array([255]))
    with pytest.raises(EvaluationError, match="no labelled pixel"):
        reliability.compute()
    with pytest.raises(EvaluationError, match="one shape"):
        reliability.update(np.zeros((2, 3)), np.zeros((3, 2), np.uint8))
    with pytest.raises(EvaluationError, match="bins"):
        Reliability(bins=0)
