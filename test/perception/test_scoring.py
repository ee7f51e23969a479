# SPDX-License-Identifier: Apache-2.0
"""Calibration and upsampling of scores."""

from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.perception.scoring import calibrated, score_map_of
from vl_anomaly_ros.perception.upsampling import upsampled
from vl_anomaly_ros.types import FloatArray

IDENTITY = ([0.0, 1.0], [0.0, 1.0])


def picture(
    score: FloatArray, width: int, height: int, curve: tuple[list[float], list[float]] = IDENTITY
) -> FloatArray:
    h, w = score.shape
    class_map = np.arange(h * w, dtype=np.int32).reshape(h, w)
    sources, features = np.zeros((3, h, w), np.float32), np.zeros((4, 1, 1), np.float32)
    made = score_map_of(score, sources, class_map, features, curve=curve, width=width, height=height)
    assert (made.width, made.height, made.class_map.shape) == (width, height, (h, w))
    return upsampled(made.probability, made.width, made.height)


def test_the_curve_is_linear_between_points_and_constant_outside() -> None:
    scores = np.array([-1, 0.1, 0.2, 0.25, 0.3, 0.6, 2], np.float32)
    probability = calibrated(scores, [0.1, 0.3, 0.5], [0.0, 0.8, 0.9])
    np.testing.assert_allclose(probability, [0, 0, 0.4, 0.6, 0.8, 0.9, 0.9], atol=1e-6)
    assert probability.dtype == np.float32


def test_the_curve_never_turns_the_order_of_scores() -> None:
    scores = np.sort(np.random.default_rng(0).random(1000)).astype(np.float32)
    assert np.all(np.diff(calibrated(scores, [0.0, 0.4, 0.5, 1.0], [0.0, 0.0, 1.0, 1.0])) >= 0)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 9), (9, 1), (64, 32), (1242, 375), (5, 3)])
def test_sizes(width: int, height: int) -> None:
    result = picture(np.random.default_rng(0).random((8, 16)).astype(np.float32), width, height)
    assert result.shape == (height, width)
    assert result.min() >= 0
    assert result.max() <= 1


def test_upsampling_has_no_offset() -> None:
    """A ramp that is linear in the position stays that ramp."""
    ramp = np.tile(((np.arange(16) + 0.5) / 16).astype(np.float32), (8, 1))
    result = picture(ramp, 160, 80)
    np.testing.assert_allclose(result[40, 5:155], (np.arange(5, 155) + 0.5) / 160, atol=1e-5)


def test_calibration_comes_before_upsampling() -> None:
    """Half-way between a certain and an impossible cell the probability is one half, whatever the curve's middle."""
    score = np.zeros((1, 2), np.float32)
    score[0, 1] = 1
    steep = ([0.0, 0.01, 1.0], [0.0, 1.0, 1.0])
    assert picture(score, 5, 1, steep)[0, 2] == pytest.approx(0.5)
