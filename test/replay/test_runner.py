# SPDX-License-Identifier: Apache-2.0
"""Offline replay from bag to result folder, by the colour-seeing bundle: what comes out can be predicted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_maker import EGO_MPS, HEIGHT, SECOND_NS, THING_PX, WIDTH, BagMaker, drive_bag, road_picture, road_points
from rosbags.highlevel import AnyReader
from tiny_bundle import POISON_RGB, build_tiny_bundle

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.errors import ReplayError
from vl_anomaly_ros.replay.runner import Replayed, ReplayJob, replay
from vl_anomaly_ros.replay.topics import TopicChoice

KITTI = Path(__file__).resolve().parents[3] / "shared" / "data" / "kitti"
SUMMARY_KEYS = [
    "frames_in", "frames_out", "frames_failed", "regions", "zones", "zones_by_status", "dropped", "timing_ms",
    "method", "backend", "bundle_sha256",
]  # fmt: skip


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sees cells of 8 pixels of the picture, so the red thing is met to the pixel."""
    return build_tiny_bundle(tmp_path_factory.mktemp("replay") / "tiny", width=160, height=80)


def run(bag: Path, out: Path, bundle: Path, limit: int | None = None, **settings: Any) -> Replayed:
    values = {"engine.bundle": str(bundle), "engine.threads": 1, **settings}
    return replay(ReplayJob(bag, out, with_values(Config(), values), limit=limit))


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_the_thing_is_found_named_and_placed(tmp_path: Path, bundle: Path, storage: str) -> None:
    done = run(drive_bag(tmp_path / "bag", storage=storage), tmp_path / "out", bundle)
    assert list(done.summary) == SUMMARY_KEYS
    assert done.summary == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [done.summary[k] for k in ("frames_in", "frames_out", "frames_failed", "dropped")] == [3, 3, 0, 0]
    assert done.summary["zones_by_status"] == {"MEASURED": 3, "SPARSE": 0, "STALE": 0, "UNKNOWN": 0}
    assert done.summary["backend"].startswith("onnxruntime")
    assert len(done.summary["bundle_sha256"]) == 64
    frames = lines(tmp_path / "out")
    assert [f["stamp_ns"] for f in frames] == [SECOND_NS, SECOND_NS * 6 // 5, SECOND_NS * 7 // 5]
    for frame in frames:
        assert list(frame) == ["stamp_ns", "camera", "regions", "zones"]
        (region,), (zone,) = frame["regions"], frame["zones"]
        assert (region["name"], region["name_source"]) == ("dog", "dictionary")
        assert np.abs(np.array(region["bbox"]) - THING_PX).max() <= 4
        assert list(zone) == [
            "id", "region", "status", "center_m", "size_m", "yaw_rad", "distance_m", "num_points", "frame_id",
        ]  # fmt: skip
        assert (zone["region"], zone["frame_id"]) == (region["id"], "base_link")
        assert zone["distance_m"] == pytest.approx(10.0, abs=0.3)
        assert zone["center_m"] == pytest.approx([10.0, 0.0, 0.75], abs=0.3)


def test_everything_that_a_result_folder_holds(tmp_path: Path, bundle: Path) -> None:
    out = tmp_path / "out"
    run(drive_bag(tmp_path / "bag", moving=True), out, bundle)
    assert sorted(p.name for p in out.iterdir()) == [
        "config.yaml", "frames.jsonl", "overlay", "report.html", "results", "summary.json",
    ]  # fmt: skip
    assert len(list((out / "overlay").iterdir())) == 3
    report = (out / "report.html").read_text()
    assert "data:image/jpeg;base64," in report
    assert "http" not in report.replace("http-equiv", "")
    with AnyReader([out / "results"]) as reader:  # types come from the recording itself
        counts = {c.topic: c.msgcount for c in reader.connections}
        assert counts == {
            **{f"/vl_anomaly/{name}": 3 for name in (
                "anomalies", "hazard_zones", "score", "mask", "instances", "segmentation", "markers", "overlay",
                "obstacle_points",
            )},
            "/camera/camera_info": 3, "/tf": 75, "/tf_static": 2,
        }  # fmt: skip
        messages: dict[str, list[Any]] = {topic: [] for topic in counts}
        for connection, _, raw in reader.messages():
            messages[connection.topic].append(reader.deserialize(raw, connection.msgtype))
    score = messages["/vl_anomaly/score"][0]
    assert (score.encoding, score.height, score.width, score.step) == ("32FC1", HEIGHT, WIDTH, WIDTH * 4)
    probability = score.data.view(np.float32).reshape(HEIGHT, WIDTH)
    assert probability[92, 160] > 0.8
    assert probability[20, 20] < 0.2
    anomalies, zones = messages["/vl_anomaly/anomalies"][2], messages["/vl_anomaly/hazard_zones"][2]
    frame = lines(out)[2]
    assert anomalies.header.frame_id == "camera_optical"
    assert anomalies.labels[0].name == frame["regions"][0]["name"]
    assert zones.zones[0].pose.position.x == pytest.approx(frame["zones"][0]["center_m"][0], abs=6e-4)
    cloud = messages["/vl_anomaly/obstacle_points"][2]
    assert cloud.width == frame["zones"][0]["num_points"]
    points = cloud.data.view(np.float32).reshape(-1, 4)[:, :3]
    assert np.abs(points.mean(0) - frame["zones"][0]["center_m"]).max() < 0.2


def test_ego_motion_between_cloud_and_image(tmp_path: Path, bundle: Path) -> None:
    """The cloud is 80 ms old at 10 m/s: with a fixed frame the thing is 0.8 m nearer than the cloud says."""
    bag = drive_bag(tmp_path / "bag", moving=True)
    run(bag, tmp_path / "with", bundle)
    run(bag, tmp_path / "without", bundle, None, **{"frames.fixed_frame": ""})
    near, far = (lines(tmp_path / name)[1]["zones"][0]["center_m"][0] for name in ("with", "without"))
    assert far - near == pytest.approx(0.08 * EGO_MPS, abs=0.02)


@pytest.mark.parametrize("absent", ["tf", "points", "info"])
def test_what_is_absent_makes_zones_unknown_and_never_none(tmp_path: Path, bundle: Path, absent: str) -> None:
    here = {name: name != absent for name in ("tf", "points", "info")}
    bag = drive_bag(tmp_path / "bag", tf=here["tf"], points=here["points"], info=here["info"])
    done = run(bag, tmp_path / "out", bundle)
    assert done.summary["frames_out"] == 3
    assert done.summary["zones_by_status"]["UNKNOWN"] == 3
    for record in done.records:
        (zone,) = record.zones
        assert zone.reason
        assert zone.num_points == 0
        assert zone.frame_id == ("camera_optical" if absent == "tf" else "base_link")


def test_two_cameras_and_one_of_them(tmp_path: Path, bundle: Path) -> None:
    bag = drive_bag(tmp_path / "bag", cameras=("left", "right"))
    done = run(bag, tmp_path / "both", bundle)
    assert [(r.stamp_ns, r.camera) for r in done.records[:3]] == [
        (SECOND_NS, "left"), (SECOND_NS, "right"), (SECOND_NS * 6 // 5, "left"),
    ]  # fmt: skip
    with AnyReader([tmp_path / "both" / "results"]) as reader:
        assert {"/vl_anomaly/left/anomalies", "/vl_anomaly/right/hazard_zones"} <= {c.topic for c in reader.connections}
    config = with_values(Config(), {"engine.bundle": str(bundle)})
    one = replay(ReplayJob(bag, tmp_path / "one", config, TopicChoice(camera="right"), limit=2))
    assert [r.camera for r in one.records] == ["right", "right"]
    assert [r.regions for r in one.records] == [r.regions for r in done.records if r.camera == "right"][:2]


def test_frames_that_fail_are_reported_and_the_rest_goes_on(tmp_path: Path, bundle: Path) -> None:
    poisoned = road_picture()
    poisoned[:] = POISON_RGB
    with BagMaker(tmp_path / "bag") as bag:
        bag.mountings()
        for i in range(5):
            stamp = (i + 1) * SECOND_NS
            bag.info(stamp)
            bag.cloud(stamp, road_points())
            if i == 1:
                bag.image(stamp, road_picture(), encoding="magic")
            elif i == 2:
                bag.image(stamp, road_picture(), cut_to=500)
            else:
                bag.image(stamp, poisoned if i == 3 else road_picture())
    done = run(tmp_path / "bag", tmp_path / "out", bundle)
    assert [done.summary[k] for k in ("frames_in", "frames_out", "frames_failed", "dropped")] == [5, 2, 3, 0]
    frames = lines(tmp_path / "out")
    assert [f.get("ok", True) for f in frames] == [True, False, False, False, True]
    assert "magic" in frames[1]["reason"]
    assert "damaged" in frames[2]["reason"]
    assert frames[3]["reason"]
    assert all(f["regions"] == [] and f["zones"] == [] for f in frames[1:4])
    report = (tmp_path / "out" / "report.html").read_text()
    assert "their view is unknown" in report
    with AnyReader([tmp_path / "out" / "results"]) as reader:
        statuses = [
            reader.deserialize(raw, c.msgtype).status  # type: ignore[attr-defined]
            for c, _, raw in reader.messages([c for c in reader.connections if c.topic == "/vl_anomaly/anomalies"])
        ]
    assert statuses == [0, 1, 0]  # judged, the network gave NaN, judged; what cannot be read has no message


def test_a_camera_info_of_another_size_leaves_depth_unknown(tmp_path: Path, bundle: Path) -> None:
    with BagMaker(tmp_path / "bag") as bag:
        bag.mountings()
        bag.info(SECOND_NS, width=640)
        bag.cloud(SECOND_NS, road_points())
        bag.image(SECOND_NS, road_picture())
    done = run(tmp_path / "bag", tmp_path / "out", bundle)
    assert done.records[0].ok
    assert [z.status for z in done.records[0].zones] == ["UNKNOWN"]


def test_clouds_with_nan_and_far_in_time(tmp_path: Path, bundle: Path) -> None:
    """A cloud full of NaN gives no depth; one 10 s away is not used. Neither loses the anomaly."""
    with BagMaker(tmp_path / "bag") as bag:
        bag.mountings()
        for stamp, cloud_ns in ((SECOND_NS, SECOND_NS), (20 * SECOND_NS, 30 * SECOND_NS)):
            bag.info(stamp)
            bag.image(stamp, road_picture())
            bag.cloud(cloud_ns, np.full((50, 3), math.nan, np.float32))
    done = run(tmp_path / "bag", tmp_path / "out", bundle)
    assert [z.status for r in done.records for z in r.zones] == ["UNKNOWN", "UNKNOWN"]


def test_the_same_bytes_on_two_runs(tmp_path: Path, bundle: Path) -> None:
    bag = drive_bag(tmp_path / "bag", moving=True)
    for name in ("one", "two"):
        run(bag, tmp_path / name, bundle)
    assert (tmp_path / "one" / "frames.jsonl").read_bytes() == (tmp_path / "two" / "frames.jsonl").read_bytes()


def test_settings_lie_beside_the_results_and_give_them_again(tmp_path: Path, bundle: Path) -> None:
    from vl_anomaly_ros.options import read_settings

    bag = drive_bag(tmp_path / "bag")
    run(bag, tmp_path / "one", bundle, **{"fusion.min_points": 100000})
    assert lines(tmp_path / "one")[0]["zones"][0]["status"] == "SPARSE"
    settings = read_settings(tmp_path / "one" / "config.yaml")
    replay(ReplayJob(bag, tmp_path / "two", with_values(Config(), settings)))
    assert (tmp_path / "one" / "frames.jsonl").read_bytes() == (tmp_path / "two" / "frames.jsonl").read_bytes()


def test_a_bag_without_messages_is_refused(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(ReplayError, match="hold no messages"):
        run(drive_bag(tmp_path / "bag"), tmp_path / "out", bundle, limit=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not KITTI.exists(), reason="the KITTI test pack is not beside the checkout (../shared/data/kitti)")
@pytest.mark.parametrize(("name", "frames"), [("kitti_bag", 3), ("kitti_bag_000000", 1)])
def test_kitti(tmp_path: Path, bundle: Path, name: str, frames: int) -> None:
    done = run(KITTI / name, tmp_path / "out", bundle)
    assert [done.summary[k] for k in ("frames_in", "frames_out", "frames_failed")] == [frames, frames, 0]
    assert [r.stamp_ns for r in done.records] == [(i + 1) * SECOND_NS for i in range(frames)]
    assert done.summary["zones"] == done.summary["regions"] > 0
    assert done.summary["zones_by_status"]["MEASURED"] > 0
