# SPDX-License-Identifier: Apache-2.0
"""Hazard zones on labelled KITTI frames, with each labelled object's pixels taken as the region."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vl_anomaly_ros.config import Config
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.judging import Judgement, TrueBox, View, judge, region_of
from vl_anomaly_ros.geometry.transforms import apply
from vl_anomaly_ros.geometry.zones import fuse
from vl_anomaly_ros.replay.bag import Bag
from vl_anomaly_ros.replay.frames import REPLAY_CONFIG, FrameSource
from vl_anomaly_ros.replay.topics import TopicChoice, find_cameras, find_points
from vl_anomaly_ros.types import BoolArray, DoubleArray, Frame

DILATE_PX = 3
"""LiDAR points sample a silhouette; grown by this, their hull covers it, and bleeds a little as real masks do."""


def judge_kitti(root: Path, config: Config | None = None) -> list[Judgement]:
    """Zones of every labelled object of the KITTI test pack, once for each kind of region.

    Regions are "mask" (the convex hull of the object's projected points, grown by `DILATE_PX`) and "box" (the labelled
    2D box, background and occluders included).

    Raises:
        EvaluationError: the folder does not hold the pack.
        ReplayError: a recording cannot be read.
    """
    labels = root / "labels.json"
    if not labels.is_file():
        raise EvaluationError(f"{root}: expected labels.json of the KITTI test pack; name the folder that holds it")
    settings = config or REPLAY_CONFIG
    entries = json.loads(labels.read_text())["frames"]
    bags = sorted({entry["bag"] for entry in entries})
    frames = {(bag, frame.stamp_ns): frame for bag in bags for frame in recorded_frames(root / bag, settings)}
    judged = []
    for entry in entries:
        stamp_ns = entry["stamp"]["sec"] * 10**9 + entry["stamp"]["nanosec"]
        frame = frames[entry["bag"], stamp_ns]
        view = View.of(frame)
        for item in entry["objects"]:
            truth = _true_box(item, view.T_zone_points)
            own = truth.contains(view.xyz) & view.in_image
            for kind, mask in _masks(item, view.pixel[own], frame.image.shape[:2]):
                zone = fuse(frame, [region_of(mask)], mask.astype(np.uint16), settings.fusion).zones[0]
                judged.append(judge(zone, truth, view, kind))
    return judged


def recorded_frames(bag: Path, config: Config) -> list[Frame]:
    """All frames of a recording, as replay would see them.

    Raises:
        EvaluationError: a frame cannot be read.
        ReplayError: the recording cannot be read.
    """
    frames = []
    with Bag(bag) as opened:
        cameras = find_cameras(opened, TopicChoice())
        for _, frame in FrameSource(opened, cameras, find_points(opened, TopicChoice()), config):
            if not isinstance(frame, Frame):
                raise EvaluationError(f"{bag}: the image at {frame.stamp_ns} ns cannot be read: {frame.reason}")
            frames.append(frame)
    return frames


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


def _true_box(item: dict[str, Any], T_zone_lidar: DoubleArray) -> TrueBox:
    """The label's box, given in the frame of the LiDAR, which stands upright on the vehicle."""
    box = item["box_3d"]
    x, y, z = apply(T_zone_lidar, np.array([box["center"]]))[0]
    turn = float(np.arctan2(T_zone_lidar[1, 0], T_zone_lidar[0, 0]))
    length, width, height = box["size"]
    return TrueBox(item["class"], (float(x), float(y), float(z)), (length, width, height), box["yaw"] + turn)
