# SPDX-License-Identifier: Apache-2.0
"""Zones of real objects against their labels. The data are for testing only and are not part of this project."""

from __future__ import annotations

from pathlib import Path

import pytest

from vl_anomaly_ros.evaluation.judging import Judgement
from vl_anomaly_ros.evaluation.kitti import judge_kitti
from vl_anomaly_ros.evaluation.zones import table
from vl_anomaly_ros.types import DepthStatus

KITTI = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "kitti"
MANY_POINTS = 100


@pytest.fixture(scope="module")
def judged() -> list[Judgement]:
    if not (KITTI / "labels.json").is_file():
        pytest.skip("the KITTI test pack is not at ../shared/data/kitti")
    return judge_kitti(KITTI)


@pytest.mark.parametrize("kind", ["mask", "box"])
def test_objects_with_many_points_meet_the_bounds(judged: list[Judgement], kind: str) -> None:
    # 0.3 m to the nearest point of the label box in view, 1 degree, 90 % of the object's points, 10 % foreign.
    chosen = [j for j in judged if j.kind == kind and j.object_points >= MANY_POINTS]
    assert len(chosen) == 7
    assert [j.name for j in chosen if not j.good] == [], "\n" + table(chosen)


def test_no_object_is_missed_and_few_points_stay_near_the_truth(judged: list[Judgement]) -> None:
    assert len(judged) == 24
    assert all(j.status in (DepthStatus.MEASURED, DepthStatus.SPARSE) for j in judged)
    assert all(abs(j.distance_error_m) < 0.6 and abs(j.bearing_error_deg) < 1.0 for j in judged), "\n" + table(judged)
    assert all(j.foreign <= 0.1 for j in judged), "\n" + table(judged)


def test_the_car_with_nine_points_is_sparse(judged: list[Judgement]) -> None:
    assert {j.status for j in judged if j.object_points == 9} == {DepthStatus.SPARSE}
