# SPDX-License-Identifier: Apache-2.0
"""Values refuse what would go wrong later, with a sentence that says what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.types import CameraCalibration, Frame, FrameResult, PointCloud, ScoreMap, check_array


def frame(**changes: Any) -> Frame:
    values = {
        "stamp_ns": 1_000_000_000,
        "camera": "front",
        "frame_id": "front_optical",
        "image": np.zeros((4, 6, 3), np.uint8),
        "output_frame": "base_link",
    }
    return Frame(**{**values, **changes})


K = np.array([[100.0, 0, 3], [0, 100, 2], [0, 0, 1]])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1, 2], "expected a numpy array, got list"),
        (np.zeros(3, np.float32), "expected ?x2 float32, got 3 float32"),
        (np.zeros((3, 3), np.float32), "expected ?x2 float32, got 3x3 float32"),
        (np.zeros((3, 2), np.float64), "expected ?x2 float32, got 3x2 float64"),
        (np.float32(1) * np.ones((), np.float32), "expected"),
    ],
)
def test_check_array_says_both_shapes(value: Any, said: str) -> None:
    check_array("x", np.zeros((0, 2), np.float32), (None, 2), np.float32)
    with pytest.raises(DataError) as caught:
        check_array("x", value, (None, 2), np.float32)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": np.zeros((4, 6), np.uint8)}, "image: expected"),
        ({"image": np.zeros((4, 6, 4), np.uint8)}, "image: expected"),
        ({"image": np.zeros((4, 6, 3), np.float32)}, "image: expected"),
        ({"image": np.zeros((0, 6, 3), np.uint8)}, "at least one pixel, got 6x0"),
        ({"T_camera_points": np.eye(3)}, "T_camera_points: expected 4x4"),
        ({"T_output_camera": np.eye(4, dtype=np.float32)}, "T_output_camera: expected 4x4 float64"),
        ({"calibration": CameraCalibration(12, 8, K, "front_optical")}, "CameraInfo is for 12x8, the image is 6x4"),
    ],
)
def test_frames_are_checked(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        frame(**changes)
    assert said in str(caught.value)


def test_age_of_the_cloud() -> None:
    assert np.isnan(frame().points_age_s)
    points = PointCloud(np.zeros((0, 3), np.float32), 950_000_000, "lidar")
    assert frame(points=points).points_age_s == pytest.approx(0.05)
    assert frame(points=replace(points, stamp_ns=1_100_000_000)).points_age_s == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 0}, "positive image size"),
        ({"K": np.zeros((3, 3))}, "not calibrated"),
        ({"K": np.full((3, 3), np.nan)}, "not calibrated"),
        ({"K": np.eye(4)}, "CameraInfo K"),
        ({"D": np.zeros((1, 5))}, "CameraInfo D"),
        ({"P": np.eye(3)}, "CameraInfo P"),
    ],
)
def test_calibrations_are_checked(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        CameraCalibration(**{"width": 6, "height": 4, "K": K, "frame_id": "c", **changes})


def test_score_maps_are_checked() -> None:
    probability, sources = np.zeros((4, 6), np.float32), np.zeros((3, 2, 3), np.float32)
    features = np.zeros((8, 1, 1), np.float32)
    ScoreMap(probability, sources, np.zeros((2, 3), np.int32), features, 6, 4)
    with pytest.raises(DataError, match="class_map: expected 2x3"):
        ScoreMap(probability, sources, np.zeros((4, 6), np.int32), features, 6, 4)
    with pytest.raises(DataError, match="sources: expected 3x"):
        ScoreMap(probability, sources[:2], np.zeros((2, 3), np.int32), features, 6, 4)
    with pytest.raises(DataError, match=r"at least one cell.*probability of"):
        ScoreMap(probability[:0], sources, np.zeros((2, 3), np.int32), features, 6, 4)
    with pytest.raises(DataError, match="got 0x4 pixels"):
        ScoreMap(probability, sources, np.zeros((2, 3), np.int32), features, 0, 4)


def test_a_failed_result_holds_nothing_that_could_pass_for_an_answer() -> None:
    result = FrameResult(frame=frame(), ok=False, reason="engine failed")
    assert (result.regions, result.zones, result.class_names) == ((), (), ())
    assert result.mask.size == result.probability.size == result.instances.size == 0
