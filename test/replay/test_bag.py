# SPDX-License-Identifier: Apache-2.0
"""Recordings of every kind are read alike, and a bad one is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from bag_maker import SECOND_NS, STORE, BagMaker, drive_bag, foreign_bag, road_picture
from rosbags.rosbag2 import CompressionMode

from vl_anomaly_ros.errors import ReplayError
from vl_anomaly_ros.replay.bag import Bag
from vl_anomaly_ros.replay.topics import CameraTopics, TopicChoice, find_cameras, find_points


@pytest.mark.parametrize(
    ("storage", "compression"),
    [
        *(("mcap", mode) for mode in CompressionMode),
        *(("sqlite3", mode) for mode in CompressionMode if mode != CompressionMode.STORAGE),  # MCAP's own
    ],
)
def test_every_storage_and_compression(tmp_path: Path, storage: str, compression: CompressionMode) -> None:
    path = drive_bag(tmp_path / "bag", storage=storage, compression=compression)
    with Bag(path) as bag:
        entries = bag.entries["/camera/image_raw"]
        assert [e.stamp_ns for e in entries] == [SECOND_NS, SECOND_NS * 6 // 5, SECOND_NS * 7 // 5]
        assert bag.message(entries[1]).data.tobytes() == road_picture().tobytes()
        assert bag.message(bag.entries["/lidar/points"][2]).header.frame_id == "lidar"


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_single_file(tmp_path: Path, storage: str) -> None:
    folder = drive_bag(tmp_path / "bag", storage=storage)
    file = next(p for p in folder.iterdir() if p.suffix in (".mcap", ".db3"))
    with Bag(file) as bag:
        assert [c.name for c in find_cameras(bag, TopicChoice())] == ["camera"]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_single_file_compressed_as_a_whole(tmp_path: Path, storage: str) -> None:
    folder = drive_bag(tmp_path / "bag", storage=storage, compression=CompressionMode.FILE)
    (file,) = (p for p in folder.iterdir() if p.suffix == ".zstd")
    with Bag(file) as bag:
        assert len(bag.entries["/camera/image_raw"]) == 3
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ReplayError, match="damaged or incomplete"), Bag(file):
        pass


def test_cameras_by_type(tmp_path: Path) -> None:
    """Raw before compressed, every camera, no depth images, info by namespace or by frame."""
    with BagMaker(tmp_path / "bag") as bag:
        for name in ("front/left", "rear"):
            bag.image(SECOND_NS, road_picture(), f"/{name}/image_raw", frame=f"{name}_optical")
            bag.compressed(SECOND_NS, road_picture(), f"/{name}/image_raw/compressed")
        bag.info(SECOND_NS, "/front/left/camera_info")
        bag.info(SECOND_NS, "/calibration/of_rear", frame="rear_optical")
        bag.image(SECOND_NS, road_picture()[..., :2], "/front/left/depth", encoding="16UC1")
        bag.image(SECOND_NS, road_picture(), "/debug/picture", frame="nowhere")
        bag.compressed(SECOND_NS, road_picture(), "/side/image/compressed")
        bag.info(SECOND_NS, "/side/camera_info")
    with Bag(tmp_path / "bag") as opened:
        assert find_cameras(opened, TopicChoice()) == (
            CameraTopics("front_left", "/front/left/image_raw", False, "/front/left/camera_info"),
            CameraTopics("rear", "/rear/image_raw", False, "/calibration/of_rear"),
            CameraTopics("side", "/side/image/compressed", True, "/side/camera_info"),
        )
        assert find_points(opened, TopicChoice()) is None
        chosen = find_cameras(opened, TopicChoice(image="/debug/picture", info="/side/camera_info", camera="eye"))
        assert chosen == (CameraTopics("eye", "/debug/picture", False, "/side/camera_info"),)
        with pytest.raises(ReplayError, match="no camera 'top' in it; there are: front_left, rear, side"):
            find_cameras(opened, TopicChoice(camera="top"))
        with pytest.raises(ReplayError, match="expected a name of letters"):  # it becomes part of file names
            find_cameras(opened, TopicChoice(camera="../eye", image="/debug/picture"))
        with pytest.raises(ReplayError, match="no topic '/nope'"):
            find_cameras(opened, TopicChoice(image="/nope"))
        with pytest.raises(ReplayError, match="is a sensor_msgs/msg/CameraInfo; expected"):
            find_points(opened, TopicChoice(points="/side/camera_info"))


def test_bad_recordings(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="no such recording"), Bag(tmp_path / "nope"):
        pass
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ReplayError, match=r"expected a bag folder, an \.mcap or"), Bag(tmp_path / "notes.txt"):
        pass
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(ReplayError, match="ROS 1"), Bag(tmp_path / "old.bag"):
        pass
    with pytest.raises(ReplayError, match="0 bag files"), Bag(tmp_path):
        pass


def read_all(path: Path) -> None:
    with Bag(path) as bag:
        for entries in bag.entries.values():
            for entry in entries:
                bag.message(entry)
        list(bag.transforms())


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_cut_recording_is_called_damaged(tmp_path: Path, storage: str, keep: float) -> None:
    folder = drive_bag(tmp_path / "bag", storage=storage)
    file = next(p for p in folder.iterdir() if p.suffix in (".mcap", ".db3"))
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ReplayError, match="damaged or incomplete"):
        read_all(folder)


def test_a_bag_without_images(tmp_path: Path) -> None:
    with (
        Bag(foreign_bag(tmp_path / "bag")) as bag,
        pytest.raises(ReplayError, match=r"no camera images in it; .* found acme_msgs/msg/Thing"),
    ):
        find_cameras(bag, TopicChoice())


def test_another_definition_of_a_standard_type(tmp_path: Path) -> None:
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    del store.fielddefs["sensor_msgs/msg/Image"]
    store.register(get_types_from_msg("std_msgs/Header header\nint32 other", "sensor_msgs/msg/Image"))
    with BagMaker(tmp_path / "bag") as maker:
        maker.write_raw("/camera/image_raw", "sensor_msgs/msg/Image", b"\0" * 40, SECOND_NS, store)
    with pytest.raises(ReplayError, match="unknown definition of sensor_msgs/msg/Image"), Bag(tmp_path / "bag"):
        pass


def test_a_message_without_a_header_is_not_lost(tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag") as maker:
        maker.write_raw("/camera/image_raw", "sensor_msgs/msg/Image", b"\0\1\0\0", SECOND_NS, STORE)
    with Bag(tmp_path / "bag") as bag:
        (entry,) = bag.entries["/camera/image_raw"]
        assert (entry.stamp_ns, entry.readable) == (SECOND_NS, False)
        with pytest.raises(ReplayError, match="damaged"):
            bag.message(entry)
