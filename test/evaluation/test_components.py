# SPDX-License-Identifier: Apache-2.0
"""Component metrics against cases worked out by hand, and against the definitions taken literally."""

from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.components import THRESHOLDS, TRACKS, ComponentFigures, ComponentMetrics, Track

ANOMALY_TRACK, OBSTACLE_TRACK = TRACKS["AnomalyTrack"], TRACKS["ObstacleTrack"]
Box = tuple[int, int, int, int]  # y0, y1, x0, x1; ends exclusive


def picture(*boxes: Box, value: float = 1, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    """0 with boxes of a value."""
    made = np.zeros(size)
    for y0, y1, x0, x1 in boxes:
        made[y0:y1, x0:x1] = value
    return made


def figures(*images: tuple[np.ndarray, np.ndarray], track: Track = OBSTACLE_TRACK) -> ComponentFigures:
    metrics = ComponentMetrics(track, threshold=0.5)
    for score, label in images:
        metrics.update(score, label.astype(np.uint8))
    return metrics.compute()


def test_the_published_sizes_and_thresholds() -> None:
    assert Track(min_predicted_px=500, min_true_px=100) == ANOMALY_TRACK
    assert Track(min_predicted_px=50, min_true_px=10) == OBSTACLE_TRACK
    assert pytest.approx([0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75]) == THRESHOLDS


def test_one_prediction_over_two_anomalies() -> None:
    """What lies on the other anomaly does not count against an anomaly.

    k1 = 10 x 10 at x 0..9, k2 = 10 x 10 at x 20..29; prediction = 10 x 30 at x 0..29, of which 100 px lie on none.
    """
    found = figures((picture((0, 10, 0, 30)), picture((0, 10, 0, 10), (0, 10, 20, 30))))
    # sIoU(k1) = 100 / (|k1 or Q| - |Q on k2|) = 100 / (300 - 100) = 1/2; k2 alike.
    assert found.siou_gt == pytest.approx(1 / 2)
    # The PPV is (100 + 100) of 300.
    assert found.ppv == pytest.approx(2 / 3)
    # t = 0.25 ... 0.50 (6 values): TP 2, FN 0, FP 0 -> 1. Above: TP 0 -> 0. Mean 6 / 11.
    assert found.f1_mean == pytest.approx(6 / 11)
    assert (found.true_components, found.predicted_components) == (2, 1)


def test_two_predictions_on_one_anomaly() -> None:
    """Anomaly 10 x 20 = 200 px. Predictions 10 x 8 = 80 px all within, 10 x 10 = 100 px of which 5 columns within."""
    found = figures((picture((0, 10, 0, 8), (0, 10, 15, 25)), picture((0, 10, 0, 20))))
    # sIoU = (80 + 50) / (200 + 50) = 0.52.
    assert found.siou_gt == pytest.approx(0.52)
    # The PPV of one is 80 of 80, of the other 50 of 100.
    assert found.ppv == pytest.approx(0.75)
    # t = 0.25 ... 0.50 (6): TP 1, FN 0, FP 0 (0.5 is not below 0.5) -> 1. Above (5): TP 0 -> 0.
    assert found.f1_mean == pytest.approx(6 / 11)


def test_components_are_pooled_over_images_not_averaged_by_image() -> None:
    hit = picture((0, 10, 0, 10)), picture((0, 10, 0, 10))  # sIoU 1, PPV 1
    false = picture((0, 10, 0, 10), (20, 30, 20, 30)), picture()  # two false predictions
    missed = picture(), picture((0, 5, 0, 5), (40, 50, 40, 50))  # two anomalies missed
    found = figures(hit, false, missed)
    assert found.siou_gt == pytest.approx(1 / 3)  # of 1, 0, 0
    assert found.ppv == pytest.approx(1 / 3)  # of 1, 0, 0
    # At every t: TP 1, FN 2, FP 2: 2 / (2 + 2 + 2).
    assert found.f1_mean == pytest.approx(1 / 3)


def test_a_low_ppv_is_false_only_from_its_threshold_on() -> None:
    """Prediction 10 x 20 = 200 px on an anomaly of 10 x 8 = 80 px, all within: sIoU = PPV = 80 / 200 = 0.4."""
    found = figures((picture((0, 10, 0, 20)), picture((0, 10, 5, 13))))
    assert found.siou_gt == pytest.approx(0.4)
    assert found.ppv == pytest.approx(0.4)
    # t = 0.25, 0.30, 0.35, 0.40: TP 1, FN 0, FP 0 -> 1. The other 7: TP 0, FN 1, FP 1 -> 0.
    assert found.f1_mean == pytest.approx(4 / 11)


@pytest.mark.parametrize(
    ("track", "height", "width", "predicted", "true"),
    [
        (ANOMALY_TRACK, 20, 25, 1, 1),  # 500 px
        (ANOMALY_TRACK, 1, 499, 0, 1),
        (ANOMALY_TRACK, 10, 10, 0, 1),  # 100 px
        (ANOMALY_TRACK, 9, 11, 0, 0),  # 99 px
        (OBSTACLE_TRACK, 5, 10, 1, 1),  # 50 px
        (OBSTACLE_TRACK, 7, 7, 0, 1),  # 49 px
        (OBSTACLE_TRACK, 2, 5, 0, 1),  # 10 px
        (OBSTACLE_TRACK, 3, 3, 0, 0),  # 9 px
    ],
)
def test_what_is_too_small_does_not_count(track: Track, height: int, width: int, predicted: int, true: int) -> None:
    both = picture((3, 3 + height, 4, 4 + width), size=(40, 520))
    found = figures((both, both), track=track)
    assert (found.predicted_components, found.true_components) == (predicted, true)


def test_an_anomaly_too_small_is_void_also_under_a_prediction() -> None:
    """Prediction 10 x 10 = 100 px; anomalies within: 5 x 10 = 50 px, and 3 x 3 = 9 px, which are too few."""
    found = figures((picture((0, 10, 0, 10)), picture((0, 5, 0, 10), (7, 10, 0, 3))))
    # Of the prediction, 100 - 9 = 91 px are left: sIoU = 50 / (50 + 41), PPV = 50 / 91.
    assert found.siou_gt == pytest.approx(50 / 91)
    assert found.ppv == pytest.approx(50 / 91)
    assert found.true_components == 1


def test_a_prediction_wholly_on_a_small_anomaly_goes_with_it() -> None:
    track = Track(min_predicted_px=4, min_true_px=10)
    found = figures((picture((0, 2, 0, 2)), picture((0, 3, 0, 3))), track=track)
    assert (found.true_components, found.predicted_components) == (0, 0)


def test_the_size_of_a_prediction_is_taken_before_small_anomalies_become_void() -> None:
    """50 px predicted, 9 of them on a small anomaly: it stays, with the other 41."""
    found = figures((picture((0, 5, 0, 10)), picture((0, 3, 0, 3))))
    assert found.predicted_components == 1
    assert found.ppv == 0.0


def test_void_cuts_components() -> None:
    """Prediction 10 x 9 = 90 px, its middle column void: 2 x 40 px, both below 50. An anomaly is cut as well."""
    label = picture((0, 10, 0, 9))
    label[:, 4] = 255
    found = figures((picture((0, 10, 0, 9)), label))
    assert (found.true_components, found.predicted_components) == (2, 0)
    assert (found.siou_gt, found.ppv, found.f1_mean) == (0.0, None, 0.0)
    scores_at_void = np.where(label == 255, np.nan, picture((0, 10, 0, 9)))
    assert figures((scores_at_void, label)) == found


def test_corners_connect() -> None:
    """Two boxes of 5 x 5 = 25 px that touch by a corner are one component of 50 px."""
    corner = picture((0, 5, 0, 5), (5, 10, 5, 10))
    found = figures((corner, corner))
    assert (found.true_components, found.predicted_components) == (1, 1)
    assert (found.siou_gt, found.ppv, found.f1_mean) == (1.0, 1.0, 1.0)


def test_the_threshold_is_inclusive_and_not_rounded() -> None:
    score = picture((0, 10, 0, 10), value=0.5).astype(np.float32)
    for threshold, predicted in ((0.5, 1), (np.nextafter(0.5, 1), 0)):
        metrics = ComponentMetrics(OBSTACLE_TRACK, threshold)
        metrics.update(score, np.zeros(score.shape, np.uint8))
        assert metrics.compute().predicted_components == predicted


def test_means_over_nothing_are_none() -> None:
    assert figures() == ComponentFigures(None, None, None, 0, 0)
    assert figures((picture(), picture())) == ComponentFigures(None, None, None, 0, 0)
    void = np.full((60, 80), 255)
    assert figures((picture((0, 20, 0, 20)), void)) == ComponentFigures(None, None, None, 0, 0)
    assert figures((picture((0, 20, 0, 20)), picture())) == ComponentFigures(None, 0.0, 0.0, 0, 1)
    assert figures((picture(), picture((0, 20, 0, 20)))) == ComponentFigures(0.0, None, 0.0, 1, 0)


def test_reset_forgets() -> None:
    metrics = ComponentMetrics(OBSTACLE_TRACK, 0.5)
    metrics.update(picture((0, 20, 0, 20)), picture().astype(np.uint8))
    metrics.reset()
    assert metrics.compute().predicted_components == 0


def test_useless_input_is_refused() -> None:
    metrics = ComponentMetrics(OBSTACLE_TRACK, 0.5)
    with pytest.raises(EvaluationError, match="one shape"):
        metrics.update(np.zeros((2, 3)), np.zeros((3, 2), np.uint8))
    with pytest.raises(EvaluationError, match="one shape"):
        metrics.update(np.zeros(6), np.zeros(6, np.uint8))
    with pytest.raises(EvaluationError, match="NaN"):
        metrics.update(np.full((2, 3), np.nan), np.zeros((2, 3), np.uint8))
    with pytest.raises(EvaluationError, match="finite"):
        ComponentMetrics(OBSTACLE_TRACK, float("nan"))


def areas(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """The 8-connected areas of a mask, by walking from pixel to pixel."""
    left, found = set(map(tuple, np.argwhere(mask).tolist())), []
    while left:
        area, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            area.add((y, x))
            beside = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= beside
            edge += beside
        found.append(area)
    return found


def literally(score: np.ndarray, label: np.ndarray, track: Track) -> ComponentFigures:
    """The definitions with sets of pixels."""
    predicted = [area for area in areas((score >= 0.5) & (label != 255)) if len(area) >= track.min_predicted_px]
    true = areas(label == 1)
    small = set().union(*(area for area in true if len(area) < track.min_true_px))
    true = [area for area in true if len(area) >= track.min_true_px]
    predicted = [area - small for area in predicted if area - small]
    siou = []
    for area in true:
        touching = set().union(*(other for other in predicted if other & area))
        others = set().union(*(other for other in true if other is not area))
        siou.append(len(area & touching) / len((area | touching) - (touching & others)))
    on_true = set().union(*true)
    ppv = [len(area & on_true) / len(area) for area in predicted]
    f1 = []
    for threshold in THRESHOLDS:
        found, false = sum(v >= threshold for v in siou), sum(v < threshold for v in ppv)
        f1.append(2 * found / (2 * found + len(siou) - found + false))
    return ComponentFigures(float(np.mean(siou)), float(np.mean(ppv)), float(np.mean(f1)), len(siou), len(ppv))


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_the_definitions_taken_literally(seed: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.random((12, 16)), np.ones((4, 4)))
    score = 0.6 * coarse + 0.4 * rng.random(coarse.shape) - 0.1
    label = (np.kron(rng.random((12, 16)), np.ones((4, 4))) * 0.5 + coarse * 0.5 > 0.6).astype(np.uint8)
    label[rng.random(label.shape) < 0.05] = 255
    track = Track(min_predicted_px=8, min_true_px=5)
    expected = literally(score, label, track)
    found = figures((score, label), track=track)
    assert expected.true_components > 3
    assert expected.predicted_components > 2
    assert (found.true_components, found.predicted_components) == (
        expected.true_components,
        expected.predicted_components,
    )
    assert (found.siou_gt, found.ppv, found.f1_mean) == pytest.approx(
        (expected.siou_gt, expected.ppv, expected.f1_mean), abs=1e-12
    )
