# SPDX-License-Identifier: Apache-2.0
"""Live replay where there is no ROS 2; what it does with one is in test/live/test_replay_live.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bag_maker import SECOND_NS, BagMaker, drive_bag, road_points

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.errors import ReplayError
from vl_anomaly_ros.replay.bag import Bag
from vl_anomaly_ros.replay.live import _parameters, live_refusal
from vl_anomaly_ros.replay.runner import ReplayJob, replay
from vl_anomaly_ros.replay.timed_transforms import TimedTransforms
from vl_anomaly_ros.replay.topics import CameraTopics


def test_without_ros_one_clear_error(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    monkeypatch.delitem(sys.modules, "vl_anomaly_ros.node.player", raising=False)
    assert live_refusal() is not None
    config = with_values(Config(), {"engine.bundle": str(tiny_bundle)})
    job = ReplayJob(drive_bag(tmp_path / "bag"), tmp_path / "out", config, live=True)
    with pytest.raises(ReplayError, match=r"live replay needs ROS 2 .* leave --live out"):
        replay(job)
    assert not (tmp_path / "out" / "summary.json").exists()


def test_how_far_transforms_must_be_played_before_an_image(tmp_path: Path) -> None:
    """Until each pair of frames is known at the stamp or later; a pair that never comes is not waited for."""
    with BagMaker(tmp_path / "bag") as bag:
        bag.cloud(SECOND_NS, road_points())
        for n in range(10):
            bag.transform(n * 100, "odom", "base_link", (0, 0, 0), log_ns=n * 100 + 30)
        for n in range(3):
            bag.transform(n * 300, "base_link", "arm", (0, 0, 0), log_ns=n * 300 + 90)
    with Bag(tmp_path / "bag") as opened:
        transforms = TimedTransforms.of(opened)
    assert transforms.known_at(250, 260, 10**9) == 390  # odom at 300 was recorded at 330, the arm's at 390
    assert transforms.known_at(650, 660, 10**9) == 730  # the arm has nothing at or after 650
    assert transforms.known_at(250, 260, 350) == 330  # not beyond the horizon


def test_what_is_slow_is_waited_for_in_replay(tmp_path: Path) -> None:
    """A budget for a vehicle would leave images out on a busy machine, and the results would differ from run to run."""
    camera = CameraTopics("front", "/image", compressed=False, info="/info")
    parameters = _parameters(Config(), camera, str(tmp_path), points=True)
    assert parameters["node.latency_budget_s"] == parameters["engine.timeout_s"] == 60.0
    assert parameters["node.cameras"] == ["front"]
    longer = with_values(Config(), {"engine.timeout_s": 100.0, "sync.policy": "nearest"})
    parameters = _parameters(longer, camera, str(tmp_path), points=True)
    assert (parameters["engine.timeout_s"], parameters["sync.policy"]) == (100.0, "nearest")
