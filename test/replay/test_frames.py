# SPDX-License-Identifier: Apache-2.0
"""Which cloud, calibration and transforms of a recording make a frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_maker import EGO_MPS, SECOND_NS, BagMaker, drive_bag, road_picture, road_points

from vl_anomaly_ros import cli
from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.replay.bag import Bag
from vl_anomaly_ros.replay.frames import REPLAY_CONFIG, FrameSource
from vl_anomaly_ros.replay.topics import TopicChoice, find_cameras, find_points
from vl_anomaly_ros.types import Frame

MS = 1_000_000


def frames_of(bag: Path, **settings: Any) -> list[Frame]:
    with Bag(bag) as opened:
        choice = TopicChoice()
        config = with_values(REPLAY_CONFIG, settings)
        source = FrameSource(opened, find_cameras(opened, choice), find_points(opened, choice), config)
        frames = [frame for _, frame in source]
    assert all(isinstance(frame, Frame) for frame in frames)
    return frames  # type: ignore[return-value]


def scene(path: Path, *cloud_stamps_ns: int, frame_id: str = "camera_optical") -> Path:
    """One image at 2 s, and clouds."""
    with BagMaker(path) as bag:
        bag.mountings()
        bag.info(2 * SECOND_NS)
        bag.image(2 * SECOND_NS, road_picture(), frame=frame_id)
        for stamp_ns in cloud_stamps_ns:
            bag.cloud(stamp_ns, road_points(), log_ns=max(stamp_ns, 0))
    return path


@pytest.mark.parametrize(("policy", "cloud_ms"), [("nearest", 2010), ("newest", 1900), ("exact", None)])
def test_the_policy_chooses_by_stamps_alone(tmp_path: Path, policy: str, cloud_ms: int | None) -> None:
    bag = scene(tmp_path / "bag", *(ms * MS for ms in (1800, 1900, 2010, 2100)))
    (frame,) = frames_of(bag, **{"sync.policy": policy})
    assert (None if frame.points is None else frame.points.stamp_ns // MS) == cloud_ms
    assert (frame.missing == ()) == (cloud_ms is not None)


def test_replay_takes_the_nearest_unless_somebody_says_otherwise(tmp_path: Path, tiny_bundle: Path) -> None:
    bag = drive_bag(tmp_path / "bag", frames=1)
    common = ["replay", str(bag), "--bundle", str(tiny_bundle), "--out"]
    assert cli.main([*common, str(tmp_path / "plain"), "--json"]) == 0
    assert "policy: nearest" in (tmp_path / "plain" / "config.yaml").read_text()
    assert cli.main([*common, str(tmp_path / "set"), "--json", "--set", "sync.policy=newest"]) == 0
    assert "policy: newest" in (tmp_path / "set" / "config.yaml").read_text()
    assert Config().sync.policy == "newest"


def test_the_motion_within_a_sweep_is_taken_out(tmp_path: Path) -> None:
    """The wall ahead is flat again, and 0.8 m nearer at the image than 80 ms before."""
    bag = drive_bag(tmp_path / "bag", moving=True, swept=True)
    for settings, flat in (({}, True), ({"fusion.deskew": False}, False)):
        frame = frames_of(bag, **settings)[1]
        assert frame.points is not None
        assert frame.T_camera_points is not None
        assert frame.missing == ()
        wall = frame.points.xyz[frame.points.xyz[:, 0] > 38.5][:, 0]
        assert (np.ptp(wall) < 0.01) == flat
        assert frame.T_camera_points[2, 3] == pytest.approx(-0.08 * EGO_MPS, abs=1e-6)


def test_a_sweep_longer_than_tf_is_used_as_it_is_and_said(tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag") as bag:
        bag.mountings()
        bag.info(2 * SECOND_NS)
        bag.image(2 * SECOND_NS, road_picture())
        points = road_points()
        bag.cloud(2 * SECOND_NS, points, times_s=np.linspace(0, 0.1, len(points), dtype=np.float32))
        for stamp_ns in (1900 * MS, 2050 * MS):
            bag.transform(stamp_ns, "odom", "base_link", (stamp_ns * 1e-8, 0, 0))
    (frame,) = frames_of(tmp_path / "bag")
    (clause,) = frame.missing
    assert clause.startswith(
        "motion within the sweep is not taken out: transform base_link -> odom: expected data at 2.0"
    )
    assert frame.points is not None
    assert frame.points.xyz.tobytes() == points.tobytes()


def test_frames_with_the_slash_of_ros_1_and_without_a_name(tmp_path: Path) -> None:
    (frame,) = frames_of(scene(tmp_path / "slash", 2 * SECOND_NS, frame_id="/camera_optical"))
    assert (frame.frame_id, frame.missing) == ("camera_optical", ())
    (frame,) = frames_of(scene(tmp_path / "none", 2 * SECOND_NS, frame_id=""))
    assert frame.T_output_camera is frame.T_camera_points is None
    assert all("header.frame_id is empty" in clause for clause in frame.missing)


def test_transforms_that_tf_refuses_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with BagMaker(tmp_path / "bag") as bag:
        bag.mountings()
        bag.transform(0, "base_link", "lidar", (5, 0, 0), (0, 0, 0, 2), static=True)
        bag.transform(0, "base_link", "lidar", (5, 0, 0), (0, 0, 0, float("nan")), static=True)
        bag.transform(0, "lidar", "base_link", (5, 0, 0), static=True)
        bag.info(2 * SECOND_NS)
        bag.image(2 * SECOND_NS, road_picture())
        bag.cloud(2 * SECOND_NS, road_points())
    (frame,) = frames_of(tmp_path / "bag")
    assert frame.missing == ()
    assert frame.T_camera_points is not None
    assert frame.T_camera_points[2, 3] == pytest.approx(0.0, abs=1e-6)
    assert "the quaternion has not the length 1" in caplog.text
    assert "a loop" in caplog.text


def test_with_fusion_switched_off_clouds_are_not_read(tmp_path: Path) -> None:
    (frame,) = frames_of(scene(tmp_path / "bag", 2 * SECOND_NS), **{"fusion.enabled": False})
    assert frame.points is None
    assert frame.missing == ("LiDAR fusion is switched off (fusion.enabled is false)",)
