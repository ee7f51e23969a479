# SPDX-License-Identifier: Apache-2.0
"""Replay through the real node over DDS gives what replay in one process gives."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from bag_maker import SECOND_NS, BagMaker, drive_bag, road_picture, road_points
from rosbags.highlevel import AnyReader
from tiny_bundle import POISON_RGB

pytestmark = pytest.mark.live
pytest.importorskip("rclpy", reason="no ROS 2 here")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages of this package are not built")

from vl_anomaly_ros.config import Config, with_values  # noqa: E402
from vl_anomaly_ros.demo import command as demo  # noqa: E402
from vl_anomaly_ros.errors import ReplayError  # noqa: E402
from vl_anomaly_ros.replay.runner import ReplayJob, replay  # noqa: E402


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """DDS of this test alone."""
    monkeypatch.setenv("ROS_DOMAIN_ID", str(random.randint(1, 100)))  # noqa: S311
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


def pixels_of(reader: AnyReader, *outputs: str) -> dict[tuple[str, int], bytes]:
    """Pixels of image outputs by topic and time of recording."""
    wanted = [c for c in reader.connections if c.topic in {f"/vl_anomaly/{name}" for name in outputs}]
    messages: list[tuple[Any, int, Any]] = [
        (c, log_ns, reader.deserialize(raw, c.msgtype)) for c, log_ns, raw in reader.messages(wanted)
    ]
    return {(c.topic, log_ns): message.data.tobytes() for c, log_ns, message in messages}


def both(bag: Path, folder: Path, bundle: Path, **settings: Any) -> tuple[dict[str, Any], list[str]]:
    """Summary of the live run and its lines, after they were found equal to the offline ones."""
    config = with_values(Config(), {"engine.bundle": str(bundle), "engine.threads": 1, **settings})
    offline = replay(ReplayJob(bag, folder / "offline", config))
    live = replay(ReplayJob(bag, folder / "live", config, live=True))
    lines = [(folder / name / "frames.jsonl").read_text().splitlines() for name in ("offline", "live")]
    assert lines[1] == lines[0]
    for name in set(live.summary) - {"timing_ms"}:
        assert live.summary[name] == offline.summary[name]
    return live.summary, lines[1]


def test_moving_vehicle_late_clouds(tmp_path: Path, node_bundle: Path) -> None:
    """Clouds older than the images and recorded after them, ego motion through TF: frame by frame the same."""
    summary, lines = both(drive_bag(tmp_path / "bag", frames=5, moving=True), tmp_path, node_bundle)
    assert (summary["frames_out"], summary["dropped"], summary["zones_by_status"]["MEASURED"]) == (5, 0, 5)
    assert json.loads(lines[3])["zones"][0]["center_m"][0] == pytest.approx(9.2, abs=0.2)
    with AnyReader([tmp_path / "live" / "results"]) as live, AnyReader([tmp_path / "offline" / "results"]) as offline:
        counts = [{c.topic: (c.msgtype, c.msgcount) for c in reader.connections} for reader in (live, offline)]
        assert counts[0] == counts[1]
        pictures = [pixels_of(reader, "score", "mask", "instances", "segmentation") for reader in (live, offline)]
        assert len(pictures[0]) == 4 * 5
        assert pictures[0] == pictures[1]  # bit for bit
    assert len(list((tmp_path / "live" / "overlay").iterdir())) == 5


@pytest.mark.parametrize("policy", ["nearest", "newest"])
def test_motion_within_sweeps(tmp_path: Path, node_bundle: Path, policy: str) -> None:
    """Each point is carried to the image through TF, which comes after it; the same in both."""
    bag = drive_bag(tmp_path / "bag", frames=4, moving=True, swept=True)
    summary, lines = both(bag, tmp_path, node_bundle, **{"sync.policy": policy})
    assert (summary["frames_out"], summary["zones_by_status"]["MEASURED"]) == (4, 4)
    (zone,) = json.loads(lines[2])["zones"]
    assert zone["center_m"][0] == pytest.approx(9.2, abs=0.1)


def test_only_clouds_of_exactly_the_same_stamp(tmp_path: Path, node_bundle: Path) -> None:
    summary, _ = both(drive_bag(tmp_path / "one", frames=2), tmp_path, node_bundle, **{"sync.policy": "exact"})
    assert summary["zones_by_status"]["MEASURED"] == 2
    bag = drive_bag(tmp_path / "two", frames=2, moving=True)
    summary, _ = both(bag, tmp_path / "late", node_bundle, **{"sync.policy": "exact"})
    assert summary["zones_by_status"]["UNKNOWN"] == 2


def test_bad_images_among_good_ones(tmp_path: Path, node_bundle: Path) -> None:
    poisoned = road_picture()
    poisoned[:] = POISON_RGB
    with BagMaker(tmp_path / "bag") as bag:
        bag.mountings()
        for i in range(5):
            stamp = (i + 1) * SECOND_NS
            bag.info(stamp)
            bag.cloud(stamp, road_points())
            picture = poisoned if i == 3 else road_picture()
            bag.compressed(stamp, picture, keep=0.5 if i == 1 else 1.0)
    summary, lines = both(tmp_path / "bag", tmp_path, node_bundle)
    assert [json.loads(line).get("ok", True) for line in lines] == [True, False, True, False, True]
    assert (summary["frames_failed"], summary["dropped"]) == (2, 0)


def test_two_cameras_no_lidar_no_tf(tmp_path: Path, node_bundle: Path) -> None:
    bag = drive_bag(tmp_path / "bag", frames=2, cameras=("left", "right"), points=False, tf=False)
    summary, lines = both(bag, tmp_path, node_bundle)
    assert [json.loads(line)["camera"] for line in lines] == ["left", "right", "left", "right"]
    assert summary["zones_by_status"]["UNKNOWN"] == 4


def test_settings_reach_the_node(tmp_path: Path, node_bundle: Path) -> None:
    bag = drive_bag(tmp_path / "bag", frames=1)
    settings = {"fusion.min_points": 100000, "method.source_weights": [1.0, 0.0, 0.0], "frames.output_frame": "lidar"}
    _, lines = both(bag, tmp_path, node_bundle, **settings)
    (zone,) = json.loads(lines[0])["zones"]
    assert (zone["status"], zone["frame_id"]) == ("SPARSE", "lidar")


def test_a_node_that_dies_is_an_error_and_not_a_result(
    tmp_path: Path, node_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vl_anomaly_ros.node.player import NodePlayer

    def kill(record: Any, done: int, total: int) -> None:
        del record, done, total
        (player,) = players
        os.kill(player._process.pid, signal.SIGKILL)

    players: list[Any] = []

    class Watched(NodePlayer):
        def __enter__(self) -> Any:
            players.append(self)
            return super().__enter__()

    config = with_values(Config(), {"engine.bundle": str(node_bundle)})
    monkeypatch.setattr("vl_anomaly_ros.node.player.NodePlayer", Watched)
    job = ReplayJob(drive_bag(tmp_path / "bag"), tmp_path / "out", config, live=True)
    with pytest.raises(ReplayError, match="the node has ended with code -9"):
        replay(job, kill)
    assert not (tmp_path / "out" / "summary.json").exists()


def test_the_demo_plays_through_the_node(tmp_path: Path, node_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    words = ["--drive", str(drive_bag(tmp_path / "bag", moving=True)), "--out", str(tmp_path / "out")]
    assert demo.run(parser.parse_args([*words, "--bundle", str(node_bundle)])) == 0
    said = capsys.readouterr().out
    assert "through the live node" in said
    assert "frame   3/3" in said
    assert "dog at " in said
