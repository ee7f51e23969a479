# SPDX-License-Identifier: Apache-2.0
"""Drives: a bag that reads back, and truth that agrees with every sensor in it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.interfaces import ConnectionExtRosbag2, QosDurability, QosReliability
from rosbags.typesys import Stores, get_typestore

from vl_anomaly_ros.errors import SimulationError
from vl_anomaly_ros.simulation.bag import quaternion_of
from vl_anomaly_ros.simulation.drive import generate_drive
from vl_anomaly_ros.simulation.drive_settings import DriveSettings, demo_settings
from vl_anomaly_ros.simulation.meshes import rotation_xyz

Array = np.ndarray[Any, np.dtype[Any]]
TYPES = {
    "/camera/image_raw/compressed": "sensor_msgs/msg/CompressedImage",
    "/camera/camera_info": "sensor_msgs/msg/CameraInfo",
    "/lidar/points": "sensor_msgs/msg/PointCloud2",
    "/tf": "tf2_msgs/msg/TFMessage",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/odom": "nav_msgs/msg/Odometry",
}


def _stamp_ns(header: Any) -> int:
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def _matrix(transform: Any) -> Array:
    q, t = transform.rotation, transform.translation
    x, y, z, w = q.x, q.y, q.z, q.w
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = t.x, t.y, t.z
    return pose


@dataclass
class Bag:
    """What was read back."""

    images: dict[int, Array] = field(default_factory=dict)
    infos: dict[int, Any] = field(default_factory=dict)
    clouds: dict[int, Array] = field(default_factory=dict)
    poses: dict[int, Array] = field(default_factory=dict)
    mounts: dict[str, Array] = field(default_factory=dict)
    odometry: dict[int, Any] = field(default_factory=dict)

    def pose_odom_base(self, stamp_ns: int) -> Array:
        """Pose at a stamp, between the two transforms around it."""
        stamps = np.array(sorted(self.poses))
        after = int(np.searchsorted(stamps, stamp_ns))
        assert 0 < after < len(stamps), "TF must surround every sensor stamp"
        a, b = self.poses[int(stamps[after - 1])], self.poses[int(stamps[after])]
        share = (stamp_ns - stamps[after - 1]) / (stamps[after] - stamps[after - 1])
        turn = a[:3, :3].T @ b[:3, :3]
        pose = np.eye(4)
        pose[:3, :3] = a[:3, :3] @ rotation_xyz(0, 0, share * np.arctan2(turn[1, 0], turn[0, 0]))
        pose[:3, 3] = (1 - share) * a[:3, 3] + share * b[:3, 3]
        return pose


@pytest.fixture(scope="module")
def bag(drive: Path) -> Bag:
    """The short drive, read through rosbags."""
    read = Bag()
    with AnyReader([drive], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        for connection, _, raw in reader.messages():
            message: Any = reader.deserialize(raw, connection.msgtype)
            if connection.topic == "/camera/image_raw/compressed":
                read.images[_stamp_ns(message.header)] = np.asarray(cv2.imdecode(message.data, cv2.IMREAD_COLOR))
            elif connection.topic == "/camera/camera_info":
                read.infos[_stamp_ns(message.header)] = message
            elif connection.topic == "/lidar/points":
                offsets = {item.name: item.offset for item in message.fields}
                assert offsets == {"x": 0, "y": 4, "z": 8, "intensity": 12, "ring": 16}
                kind = np.dtype([("xyz", "<f4", 3), ("intensity", "<f4"), ("ring", "<u2")])
                assert message.point_step == kind.itemsize
                read.clouds[_stamp_ns(message.header)] = np.frombuffer(message.data.tobytes(), kind)
            elif connection.topic == "/odom":
                read.odometry[_stamp_ns(message.header)] = message
            else:
                for item in message.transforms:
                    if connection.topic == "/tf":
                        assert (item.header.frame_id, item.child_frame_id) == ("odom", "base_link")
                        read.poses[_stamp_ns(item.header)] = _matrix(item.transform)
                    else:
                        read.mounts[item.child_frame_id] = _matrix(item.transform)
    return read


def _truth(drive: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (drive / "truth.jsonl").read_text(encoding="utf-8").splitlines()]


def test_topics_types_and_qos(drive: Path) -> None:
    with AnyReader([drive], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
        assert {connection.topic: connection.msgtype for connection in reader.connections} == TYPES
        log_times = [time for _, time, _ in reader.messages()]
        for connection in reader.connections:
            assert isinstance(connection.ext, ConnectionExtRosbag2)
            qos = connection.ext.offered_qos_profiles[0]
            sensor = connection.topic.startswith(("/camera", "/lidar"))
            assert qos.reliability == (QosReliability.BEST_EFFORT if sensor else QosReliability.RELIABLE)
            latched = connection.topic == "/tf_static"
            assert qos.durability == (QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE)
    assert log_times == sorted(log_times)


def test_stamps_are_those_of_free_running_sensors(bag: Bag, drive: Path, settings: DriveSettings) -> None:
    assert len(bag.images) == round(settings.duration_s * settings.rate_hz)
    assert len(bag.clouds) == round(settings.duration_s * settings.lidar_rate_hz)
    assert list(bag.images) == list(bag.infos) == [line["stamp_ns"] for line in _truth(drive)]
    assert not set(bag.images) & set(bag.clouds)
    assert len(bag.poses) == len(bag.odometry) > 50 * settings.duration_s
    assert min(bag.poses) < min(bag.images)
    assert max(bag.poses) > max(*bag.images, *bag.clouds)


def test_camera_info_states_the_camera(bag: Bag, settings: DriveSettings) -> None:
    info = next(iter(bag.infos.values()))
    assert (info.width, info.height) == settings.image_size
    assert next(iter(bag.images.values())).shape == (settings.image_size[1], settings.image_size[0], 3)
    focal = settings.image_size[0] / 2 / np.tan(np.radians(settings.fov_x_deg) / 2)
    np.testing.assert_allclose(info.k.reshape(3, 3), [[focal, 0, 159.5], [0, focal, 79.5], [0, 0, 1]])
    assert not info.d.any()


def test_labelled_points_lie_in_the_3d_box(bag: Bag, drive: Path) -> None:
    """Truth boxes are given at image stamps; move them to the sweep with their velocity."""
    checked = 0
    for line in _truth(drive):
        stamp = line["lidar_stamp_ns"]
        labels = np.load(drive / "truth" / f"{stamp}_points.npz")["instance"]
        assert len(labels) == len(bag.clouds[stamp])
        pose = bag.pose_odom_base(stamp) @ bag.mounts["lidar_top"]
        points = bag.clouds[stamp]["xyz"].astype(float) @ pose[:3, :3].T + pose[:3, 3]
        for thing in line["objects"]:
            mine = points[labels == thing["instance"]]
            assert len(mine) == thing["lidar_points"]
            if len(mine) == 0:
                continue
            center = np.array(thing["center_m"]) + np.array(thing["velocity_mps"]) * (stamp - line["stamp_ns"]) * 1e-9
            local = (mine - center) @ rotation_xyz(0, 0, thing["yaw_rad"])
            assert (np.abs(local) <= np.array(thing["size_m"]) / 2 + 0.08).all(), thing["name"]
            checked += len(mine)
    assert checked > 100


def _share_on_mask(bag: Bag, drive: Path, late_ns: int) -> float:
    """Share of labelled points of standing things that fall on (or one pixel beside) their mask."""
    hits, total = 0, 0
    for line in _truth(drive):
        stamp, sweep = line["stamp_ns"], line["lidar_stamp_ns"]
        masks = cv2.imread(str(drive / "truth" / f"{stamp}_instances.png"), cv2.IMREAD_UNCHANGED)
        assert masks is not None
        labels = np.load(drive / "truth" / f"{sweep}_points.npz")["instance"]
        to_camera = np.linalg.inv(bag.pose_odom_base(stamp + late_ns) @ bag.mounts["camera_front_optical"])
        pose = to_camera @ bag.pose_odom_base(sweep) @ bag.mounts["lidar_top"]
        points = bag.clouds[sweep]["xyz"].astype(float) @ pose[:3, :3].T + pose[:3, 3]
        pixels = points @ bag.infos[stamp].k.reshape(3, 3).T
        for thing in line["objects"]:
            if any(thing["velocity_mps"]) or thing["area_px"] < 60:
                continue
            mine = (labels == thing["instance"]) & (points[:, 2] > 1)
            columns, rows = np.round(pixels[mine, :2] / pixels[mine, 2:]).astype(int).T
            inside = (columns >= 0) & (columns < masks.shape[1]) & (rows >= 0) & (rows < masks.shape[0])
            mask = cv2.dilate((masks == thing["instance"]).astype(np.uint8), np.ones((3, 3), np.uint8))
            hits += int(mask[rows[inside], columns[inside]].sum())
            total += int(inside.sum())
    assert total > 50
    return hits / total


def test_points_projected_through_tf_land_on_their_mask(bag: Bag, drive: Path) -> None:
    # The LiDAR sits higher and sees a little over what hides things from the camera: not all points need hit.
    assert _share_on_mask(bag, drive, 0) > 0.9
    assert _share_on_mask(bag, drive, 200_000_000) < 0.6, "a pose of 0.2 s later must not do as well"


def test_truth_agrees_with_masks_and_frames(bag: Bag, drive: Path) -> None:
    assert any(thing["is_anomaly"] for line in _truth(drive) for thing in line["objects"])
    for line in _truth(drive):
        masks = cv2.imread(str(drive / "truth" / f"{line['stamp_ns']}_instances.png"), cv2.IMREAD_UNCHANGED)
        semantic = cv2.imread(str(drive / "truth" / f"{line['stamp_ns']}_semantic.png"), cv2.IMREAD_UNCHANGED)
        assert masks is not None
        assert semantic is not None
        pose = bag.pose_odom_base(line["stamp_ns"])
        for thing in line["objects"]:
            assert thing["area_px"] == (masks == thing["instance"]).sum()
            assert ((semantic[masks == thing["instance"]] == 254) == thing["is_anomaly"]).all()
            here = pose[:3, :3].T @ (np.array(thing["center_m"]) - pose[:3, 3])
            np.testing.assert_allclose(here, thing["base_link"]["center_m"], atol=0.02)
            assert thing["distance_m"] <= np.hypot(*here[:2]) + 1e-3


def test_odometry_speed_is_the_speed_of_the_poses(bag: Bag) -> None:
    stamps = sorted(bag.poses)
    for before, here, after in zip(stamps[:-2], stamps[1:-1], stamps[2:], strict=True):
        moved = np.linalg.norm(bag.poses[after][:3, 3] - bag.poses[before][:3, 3])
        assert bag.odometry[here].twist.twist.linear.x == pytest.approx(moved / ((after - before) * 1e-9), rel=0.03)
    assert bag.poses[stamps[-1]][0, 3] > 5.0, "the ego vehicle drives"


def test_same_seed_same_bytes(drive: Path, settings: DriveSettings, tmp_path: Path) -> None:
    again = tmp_path / drive.name
    generate_drive(again, settings)
    files = sorted(path.relative_to(drive) for path in drive.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert {str(name) for name in files} >= {"drive.mcap", "metadata.yaml", "truth.jsonl"}
    for name in files:
        assert (drive / name).read_bytes() == (again / name).read_bytes(), name


def test_existing_folder_is_refused(drive: Path, settings: DriveSettings) -> None:
    with pytest.raises(SimulationError, match="does not exist yet"):
        generate_drive(drive, settings)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rate_hz": 0.0}, "rate_hz: expected more than 0"),
        ({"jpeg_quality": 101}, "jpeg_quality: expected 1 to 100"),
        ({"anomalies": "odd"}, "anomalies: expected none, seen, unseen or all"),
    ],
)
def test_bad_settings_are_refused_by_name(change: dict[str, Any], text: str) -> None:
    with pytest.raises(SimulationError, match=text):
        replace(demo_settings(), **change)


@pytest.mark.parametrize("angles", [(0, 0, 0), (0.3, -0.2, 2.9), (3.1, 0.1, 0.2), (0.1, 3.0, -1), (-1.57, 0, -1.57)])
def test_quaternion_is_that_of_the_rotation(angles: tuple[float, float, float]) -> None:
    rotation = rotation_xyz(*angles)
    x, y, z, w = quaternion_of(rotation)
    turned = np.array([0.3, -0.7, 0.2]) + 2 * np.cross(
        [x, y, z], np.cross([x, y, z], [0.3, -0.7, 0.2]) + w * np.array([0.3, -0.7, 0.2])
    )
    np.testing.assert_allclose(turned, rotation @ [0.3, -0.7, 0.2], atol=1e-9)
