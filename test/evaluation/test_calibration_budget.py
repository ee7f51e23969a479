# SPDX-License-Identifier: Apache-2.0
"""The threshold that keeps to a budget of false regions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.calibration_budget import (
    LOWEST,
    BudgetSettings,
    JudgedFrame,
    operate,
    threshold_for_budget,
    why,
)

SETTINGS = BudgetSettings(false_regions=1.0, min_area_px=16)


def frame(spots: dict[tuple[int, int], float], anomalies: tuple[tuple[int, int], ...] = (), void: Any = ()) -> Any:
    """A map of 16 x 32 cells with spots of 2 x 2 cells; labels of 64 x 128 pixels."""
    probability = np.zeros((16, 32), np.float32)
    label = np.zeros((64, 128), np.uint8)
    for (y, x), value in spots.items():
        probability[y : y + 2, x : x + 2] = value
    for value, places in ((1, anomalies), (255, void)):
        for y, x in places:
            label[4 * y : 4 * y + 8, 4 * x : 4 * x + 8] = value
    return JudgedFrame(probability, label)


SPOTS = {(2, 2): 0.9, (2, 10): 0.7, (2, 20): 0.5, (8, 2): 0.3}


def test_the_threshold_lies_just_above_what_would_break_the_budget() -> None:
    frames = [frame(SPOTS, anomalies=((2, 2),))]  # false at 0.7, 0.5 and 0.3
    found = threshold_for_budget(frames, SETTINGS)
    assert 0.5 < found.threshold < 0.6
    assert (found.false_regions, found.objects_found, found.objects) == (1.0, 1.0, 1)


def test_a_larger_budget_never_gives_a_higher_threshold() -> None:
    frames = [frame(SPOTS, anomalies=((2, 2),)), frame({(8, 20): 0.6})]
    found = [threshold_for_budget(frames, BudgetSettings(n, 16)).threshold for n in (0.5, 1.0, 1.5, 2.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1]


def test_regions_that_merge_do_not_pay_for_a_lower_threshold() -> None:
    """At 0.2 all is one false region, which the budget would allow; on the way there are four."""
    one = frame(SPOTS)
    one.probability[one.probability == 0] = 0.2
    assert operate([one], 0.2, SETTINGS).false_regions == 1
    assert threshold_for_budget([one], SETTINGS).threshold > 0.6


def test_nothing_false_goes_all_the_way_down() -> None:
    found = threshold_for_budget([frame({(2, 2): 0.9}, anomalies=((2, 2),))], SETTINGS)
    assert found.threshold == LOWEST
    assert found.false_regions == 0


def test_void_is_neither_true_nor_false() -> None:
    assert operate([frame({(2, 10): 0.7}, void=((1, 9), (1, 10), (2, 9), (2, 10), (3, 11), (1, 11), (3, 9)))], 0.5,
                   SETTINGS).false_regions == 0  # fmt: skip


def test_a_region_that_is_hardly_anomalous_is_false() -> None:
    wide = frame({}, anomalies=((2, 2),))
    wide.probability[:, :] = 0.8
    found = operate([wide], 0.5, SETTINGS)
    assert (found.false_regions, found.objects_found) == (1.0, 1.0)  # 64 of 8192 pixels


def test_small_regions_and_small_objects_do_not_count() -> None:
    one = frame({(2, 2): 0.9, (8, 8): 0.9}, anomalies=((2, 2),))
    found = operate([one], 0.5, BudgetSettings(1.0, min_area_px=500))
    assert (found.false_regions, found.objects, found.objects_found) == (0.0, 0, None)


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([], "got none"),
        ([frame({})], "no threshold can find anything"),
    ],
)
def test_frames_that_give_no_threshold_are_refused(frames: Any, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        threshold_for_budget(frames, SETTINGS)


def test_a_budget_that_cannot_be_kept_is_said_and_leaves_the_highest_threshold(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = threshold_for_budget([frame({(2, 2): 0.9, (2, 10): 0.9})], SETTINGS)
    assert found.false_regions == 2
    assert 0.89 < found.threshold <= 0.9
    assert "allow more" in caplog.text
    assert why(found, SETTINGS).startswith("the highest probability, which gives 2 of the allowed 1 ")


@pytest.mark.parametrize("values", [{"false_regions": 0.0}, {"min_area_px": 0}, {"min_true_share": 0.0}])
def test_settings_out_of_range_are_refused(values: Any) -> None:
    with pytest.raises(EvaluationError, match="expected"):
        BudgetSettings(**values)
