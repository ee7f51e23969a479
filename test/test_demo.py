# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly demo` without ROS, and the shipped drive."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bag_maker import drive_bag

from vl_anomaly_ros import cli
from vl_anomaly_ros.demo.command import drive_folder
from vl_anomaly_ros.errors import ReplayError
from vl_anomaly_ros.replay.bag import Bag
from vl_anomaly_ros.replay.birdseye import read_truth
from vl_anomaly_ros.replay.topics import TopicChoice, find_cameras, find_points

DRIVE = Path(__file__).resolve().parents[1] / "demo" / "drive"


def test_demo_without_ros_runs_offline_and_says_so(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    monkeypatch.delitem(sys.modules, "vl_anomaly_ros.node.player", raising=False)
    out = tmp_path / "out"
    words = ["demo", "--drive", str(drive_bag(tmp_path / "bag")), "--out", str(out), "--bundle", str(tiny_bundle)]
    assert cli.main(words) == 0
    captured = capsys.readouterr()
    assert "the demo runs offline" in captured.err
    assert "frame   3/3" in captured.out
    made = {p.name for p in out.iterdir()}
    assert {"contact_sheet.jpg", "birdseye.png", "report.html", "results", "frames.jsonl"} <= made
    assert any(name.startswith("overlay.") for name in made)
    for line in captured.out.split("\n\n")[2].splitlines():
        assert Path(line.split("  ")[0]).exists()
    assert cli.main(words) == 0  # over its own earlier result


def test_a_drive_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("vl_anomaly_ros.demo.command.__file__", str(tmp_path / "a" / "b" / "c.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    with pytest.raises(ReplayError, match="make one with `vl-anomaly simulate`"):
        drive_folder()


@pytest.mark.skipif(not DRIVE.exists(), reason="demo/drive is not in this checkout")
def test_the_shipped_drive() -> None:
    assert drive_folder() == DRIVE
    assert sum(p.stat().st_size for p in DRIVE.iterdir()) <= 12_000_000
    truth = read_truth(DRIVE / "truth.jsonl")
    with Bag(DRIVE) as bag:
        (camera,) = find_cameras(bag, TopicChoice())
        images = bag.entries[camera.image]
        assert camera.info is not None
        assert find_points(bag, TopicChoice()) is not None
        assert len(images) >= 30
        assert {e.stamp_ns for e in images} == set(truth)
    assert len({t.name for things in truth.values() for t in things if t.anomaly}) >= 3
