# SPDX-License-Identifier: Apache-2.0
"""Hazard zones on labelled KITTI frames, with each labelled object's pixels taken as the region."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rosbags.highlevel import AnyReader

from vl_anomaly_ros.config import FusionConfig
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.zones import Judgement, TrueBox, field_of_view, judge
from vl_anomaly_ros.geometry import transforms
from vl_anomaly_ros.geometry.camera import project
from vl_anomaly_ros.geometry.zones import fuse
from vl_anomaly_ros.types import BoolArray, CameraCalibration, DoubleArray, Frame, PointCloud, Region

EGO_FRAME = "base_link"
DILATE_PX = 3
"""LiDAR points sample a silhouette; grown by this, their hull covers it, and bleeds a little as real masks do."""


def judge_kitti(root: Path, config: FusionConfig | None = None) -> list[Judgement]:
    """Zones of every labelled object of the KITTI test pack, once for each kind of region.

    Regions are "mask" (the convex hull of the object's projected points, grown by `DILATE_PX`) and "box" (the labelled
    2D box, background and occluders included).

    Raises:
        EvaluationError: the folder does not hold the pack.
    """
    labels = root / "labels.json"
    if not labels.is_file():
        raise EvaluationError(f"{root}: expected labels.json of the KITTI test pack; name the folder that holds it")
    judged = []
    for entry in json.loads(labels.read_text())["frames"]:
        stamp_ns = entry["stamp"]["sec"] * 10**9 + entry["stamp"]["nanosec"]
        frame, T_ego_lidar = _read_frame(root / entry["bag"], stamp_ns, entry["camera"])
        assert frame.points is not None  # noqa: S101  (`_read_frame` sets it)
        xyz = transforms.apply(T_ego_lidar, frame.points.xyz)
        uv, in_image = _pixels(frame)
        assert frame.calibration is not None and frame.T_output_camera is not None  # noqa: S101, PT018
        view = field_of_view(frame.calibration, frame.T_output_camera)
        for item in entry["objects"]:
            truth = _true_box(item, T_ego_lidar)
            own = truth.contains(xyz) & in_image
            for kind, mask in _masks(item, uv[own], frame.image.shape[:2]):
                region = region_of(mask)
                zone = fuse(frame, [region], mask.astype(np.uint16), config or FusionConfig()).zones[0]
                judged.append(judge(zone, truth, xyz, in_image, np.zeros(2), view, kind))
    return judged


def region_of(mask: BoolArray, value: int = 1) -> Region:
    """The region that a boolean mask with at least one pixel describes."""
    v, u = np.nonzero(mask)
    bbox = (int(u.min()), int(v.min()), int(u.max()) + 1, int(v.max()) + 1)
    return Region(value, bbox, len(u), (float(u.mean()), float(v.mean())), 1.0, (1.0, 1.0, 1.0))


def _masks(item: dict[str, Any], uv: DoubleArray, shape: tuple[int, ...]) -> Iterator[tuple[str, BoolArray]]:
    if len(uv):
        mask = np.zeros(shape, np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(uv).astype(np.int32)), 1)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * DILATE_PX + 1, 2 * DILATE_PX + 1))
        yield "mask", cv2.dilate(mask, kernel) > 0
    x0, y0, x1, y1 = (round(v) for v in item["box_2d"])
    box = np.zeros(shape, bool)
    box[max(0, y0) : y1 + 1, max(0, x0) : x1 + 1] = True
    yield "box", box


def _true_box(item: dict[str, Any], T_ego_lidar: DoubleArray) -> TrueBox:
    """The label's box, whose frame differs from the ego frame by a shift and a turn about z."""
    box = item["box_3d"]
    x, y, z = transforms.apply(T_ego_lidar, np.array([box["center"]]))[0]
    turn = float(np.arctan2(T_ego_lidar[1, 0], T_ego_lidar[0, 0]))
    length, width, height = box["size"]
    return TrueBox(item["class"], (float(x), float(y), float(z)), (length, width, height), box["yaw"] + turn)


def _pixels(frame: Frame) -> tuple[DoubleArray, BoolArray]:
    assert frame.points is not None and frame.calibration is not None and frame.T_camera_points is not None  # noqa: S101, PT018
    return project(frame.calibration, transforms.apply(frame.T_camera_points, frame.points.xyz))


def _read_frame(bag: Path, stamp_ns: int, camera: str) -> tuple[Frame, DoubleArray]:
    """The frame at a stamp, and LiDAR to ego."""
    tree = transforms.TransformBuffer()
    found: dict[str, Any] = {}
    with AnyReader([bag]) as reader:
        for connection, _, raw in reader.messages():
            message: Any = reader.deserialize(raw, connection.msgtype)
            if connection.topic == "/tf_static":
                _fill(tree, message)
            elif message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == stamp_ns:
                found[connection.topic] = message
    info, image, cloud = found["/camera/camera_info"], found["/camera/image_raw"], found["/lidar/points"]
    pixels = np.asarray(image.data).reshape(image.height, image.width, 3)[..., ::-1]
    calibration = CameraCalibration(
        info.width, info.height, np.array(info.k, np.float64).reshape(3, 3), camera, np.array(info.d, np.float64)
    )
    lidar = cloud.header.frame_id
    T_ego_camera = tree.lookup(EGO_FRAME, camera, stamp_ns)
    frame = Frame(
        stamp_ns,
        "camera",
        camera,
        np.ascontiguousarray(pixels),
        EGO_FRAME,
        calibration,
        PointCloud(_xyz(cloud), stamp_ns, lidar),
        tree.lookup(camera, lidar, stamp_ns),
        T_ego_camera,
    )
    return frame, tree.lookup(EGO_FRAME, lidar, stamp_ns)


def _xyz(cloud: Any) -> npt.NDArray[np.float32]:
    """x, y, z of the pack's clouds: float32 at the start of each point."""
    rows = np.asarray(cloud.data).reshape(-1, cloud.point_step)[:, :12]
    return np.ascontiguousarray(rows).view(np.float32).reshape(-1, 3)


def _fill(tree: transforms.TransformBuffer, message: Any) -> None:
    for item in message.transforms:
        t, q = item.transform.translation, item.transform.rotation
        tree.set(
            item.header.frame_id,
            item.child_frame_id,
            0,
            np.array([t.x, t.y, t.z]),
            np.array([q.x, q.y, q.z, q.w]),
            static=True,
        )
