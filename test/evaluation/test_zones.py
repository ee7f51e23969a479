# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from road_world import Thing, World

from vl_anomaly_ros.config import FusionConfig
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.judging import TrueBox, View, clip, judge, middle_bearing, region_of
from vl_anomaly_ros.evaluation.zones import main, summary, table
from vl_anomaly_ros.geometry.zones import fuse
from vl_anomaly_ros.types import DepthStatus, DoubleArray, HazardZone

BOX = TrueBox("crate", (12.0, 0.0, 0.5), (2.0, 1.0, 1.0), 0.0)
# Four points of the crate, and one 3 m behind it.
XYZ = np.array([[11.0, -0.5, 0.3], [11.0, 0.5, 0.3], [11.0, 0.0, 0.8], [12.0, 0.5, 0.5], [16.0, 0.0, 0.5]])


def view(xyz: DoubleArray = XYZ) -> View:
    return View(xyz, np.zeros((len(xyz), 2)), np.ones(len(xyz), bool), np.eye(4), np.zeros((0, 3)), np.zeros(2))


def zone(indices: list[int], distance_m: float, shift_m: float = 0.0) -> HazardZone:
    footprint = np.array([[11.0, -0.5], [12.0, -0.5], [12.0, 0.5], [11.0, 0.5]])
    footprint[:, 1] += shift_m
    return HazardZone(1, 1, DepthStatus.MEASURED, "", (11.5, 0, 0.5), (1, 1, 1), 0.0, np.eye(3), footprint, (0, 1),
                      distance_m, np.array(indices, np.int64))  # fmt: skip


def test_a_perfect_zone() -> None:
    verdict = judge(zone([0, 1, 2, 3], 11.0), BOX, view())
    assert verdict.good
    assert verdict.object_points == 4
    assert (verdict.recall, verdict.foreign) == (1.0, 0.0)
    assert verdict.distance_error_m == pytest.approx(0.0)
    assert verdict.bearing_error_deg == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (zone([0, 1, 2, 3], 11.4), "0.4 m too far"),
        (zone([0, 1, 2, 3], 10.6), "0.4 m too near"),
        (zone([0, 1], 11.0), "half of the points"),
        (zone([0, 1, 2, 3, 4], 11.0), "one of five is foreign"),
        (zone([0, 1, 2, 3], 11.0, shift_m=0.4), "0.4 m aside at 11 m is 2 degrees"),
    ],
)
def test_each_bound_can_fail(given: HazardZone, why: str) -> None:
    assert not judge(given, BOX, view()).good, why


def test_shares_and_angles_by_hand() -> None:
    verdict = judge(zone([0, 1, 4], 11.2, shift_m=0.5), BOX, view())
    assert verdict.recall == pytest.approx(2 / 4)
    assert verdict.foreign == pytest.approx(1 / 3)
    assert verdict.distance_error_m == pytest.approx(0.2)
    # The zone reaches from 0 to atan(1 / 11), the points from -atan(0.5 / 11) to atan(0.5 / 11).
    assert verdict.bearing_error_deg == pytest.approx(math.degrees(math.atan(1 / 11)) / 2, abs=1e-6)


def test_only_the_part_in_view_is_asked_for() -> None:
    # The image ends at x = 11.5: the nearest corner that could be seen is half a metre farther.
    cut = dataclasses.replace(view(), edges=np.array([[1.0, 0.0, -11.5]]))
    verdict = judge(zone([0, 1, 2, 3], 11.5), BOX, cut)
    assert verdict.distance_error_m == pytest.approx(0.0)
    assert verdict.whole_distance_error_m == pytest.approx(0.5)


def test_clip_drops_what_is_outside() -> None:
    assert clip(BOX.polygon, np.array([[1.0, 0.0, -20.0]])).shape == (0, 2)


def test_a_turned_box_contains_its_corners_only_with_slack() -> None:
    box = TrueBox("plank", (5.0, 5.0, 0.1), (2.0, 0.2, 0.2), math.pi / 4)
    tip = np.array([[5 + math.sqrt(0.5) + 0.05, 5 + math.sqrt(0.5) + 0.05, 0.1]])
    assert not box.contains(tip)[0]
    assert box.contains(tip, 0.2)[0]


def test_bearing_across_the_back() -> None:
    behind = np.array([[-10.0, 1.0], [-10.0, -1.0]])
    assert abs(math.remainder(middle_bearing(behind) - math.pi, 2 * math.pi)) < 1e-9


def test_view_of_a_simulated_frame_agrees_with_the_scan() -> None:
    world = World([Thing(12, 1, 1.0, 1.2, 0.9), Thing(20, 0, 0.5, 40, 5.0)])
    frame = world.frame()
    mask = world.picture() == 1
    found = fuse(frame, [region_of(mask)], mask.astype(np.uint16), FusionConfig()).zones[0]
    truth = TrueBox("crate", (12.0, 1.0, 0.45), (1.001, 1.201, 0.901), 0.0)
    seen = View.of(frame)
    verdict = judge(found, truth, seen, "mask")
    assert verdict.object_points >= len(world.seen(1))  # and the ground at its foot
    assert verdict.good, table([verdict])


def test_a_frame_without_a_cloud_cannot_be_judged() -> None:
    frame = dataclasses.replace(World([]).frame(), points=None, missing=("no point cloud topic",))
    with pytest.raises(EvaluationError, match="no point cloud topic"):
        View.of(frame)


def test_summary_bins_by_distance_and_counts_the_missed() -> None:
    near = judge(zone([0, 1, 2, 3], 11.1), BOX, view())
    far = dataclasses.replace(near, range_m=35.0, status=DepthStatus.UNKNOWN, distance_error_m=-30.0)
    text = summary([near, dataclasses.replace(near, distance_error_m=-0.3), far])
    lines = [line.split() for line in text.splitlines()]
    assert [line[0] for line in lines[1:]] == ["0-20", "20-40", "40-60"]
    # objects, missed, median and worst distance error
    assert lines[1][1:5] == ["2", "0", "0.20", "0.30"]
    assert lines[2][1:3] == ["1", "1"]


def test_the_table_stars_what_misses_the_bounds() -> None:
    lines = table([judge(zone([0, 1, 2, 3], 11.0), BOX, view()), judge(zone([0], 12.0), BOX, view())]).splitlines()
    assert len(lines) == 3
    assert not lines[1].endswith("*")
    assert lines[2].endswith("*")


def test_the_command_refuses_a_folder_without_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kitti", str(tmp_path)]) == 1
    assert "expected labels.json" in capsys.readouterr().err
