# SPDX-License-Identifier: Apache-2.0
"""Hazard zones on a simulated drive, with the true masks of its objects taken as the regions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.config import Config
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.judging import Judgement, TrueBox, View, judge, region_of
from vl_anomaly_ros.evaluation.kitti import recorded_frames
from vl_anomaly_ros.geometry.zones import fuse
from vl_anomaly_ros.replay.frames import REPLAY_CONFIG
from vl_anomaly_ros.types import Frame, HazardZone, Region


class DriveFrame(NamedTuple):
    """One frame of a drive with the objects in it whose true mask is as large as a region must be.

    Attributes:
        frame: as replay sees it.
        truth: the line of `truth.jsonl`.
        items: what that line says of each object.
        regions: true mask of each.
        instances: (H, W) uint16 true instances.
        zones: of the regions, fused together as those of one image are.
        hits: (N,) instance that each point of the frame's cloud lies on.
    """

    frame: Frame
    truth: dict[str, Any]
    items: list[dict[str, Any]]
    regions: list[Region]
    instances: npt.NDArray[np.uint16]
    zones: tuple[HazardZone, ...]
    hits: npt.NDArray[np.uint16]


def drive_frames(root: Path, config: Config) -> Iterator[DriveFrame]:
    """Every frame of a drive.

    Args:
        root: what `vl-anomaly simulate drive --truth-masks` wrote.
        config: settings; those of regions, fusion, frames and matching are used.

    Raises:
        EvaluationError: the folder holds no drive with true masks.
        ReplayError: the recording cannot be read.
    """
    lines = root / "truth.jsonl"
    if not lines.is_file() or not (root / "truth").is_dir():
        raise EvaluationError(
            f"{root}: expected truth.jsonl and truth/ of a simulated drive; "
            "make one with `vl-anomaly simulate drive --truth-masks --out DIR`"
        )
    truth = {line["stamp_ns"]: line for line in map(json.loads, lines.read_text().splitlines())}
    for frame in recorded_frames(root, config):
        mask = root / "truth" / f"{frame.stamp_ns}_instances.png"
        labels = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
        if labels is None or frame.stamp_ns not in truth:
            raise EvaluationError(f"{mask}: expected the true instances of the image at {frame.stamp_ns} ns")
        instances = labels.astype(np.uint16)
        items = [item for item in truth[frame.stamp_ns]["objects"] if item["area_px"] >= config.regions.min_area_px]
        regions = [region_of(instances == item["instance"], item["instance"]) for item in items]
        zones = fuse(frame, regions, instances, config.fusion).zones
        yield DriveFrame(frame, truth[frame.stamp_ns], items, regions, instances, zones, _hits(root, frame))


def judge_drive(root: Path, config: Config | None = None) -> list[Judgement]:
    """Zones of every object of a drive; kind is "anomaly" or "known". See `drive_frames`."""
    judged = []
    for frame, _, items, _, _, zones, hits in drive_frames(root, config or REPLAY_CONFIG):
        view = View.of(frame)
        for item, zone in zip(items, zones):
            pose = item["base_link"]
            box = TrueBox(item["name"], tuple(pose["center_m"]), tuple(item["size_m"]), pose["yaw_rad"])
            kind = "anomaly" if item["is_anomaly"] else "known"
            judged.append(judge(zone, box, view, kind, hits == item["instance"]))
    return judged


def _hits(root: Path, frame: Frame) -> npt.NDArray[np.uint16]:
    """Which instance each point of the frame's cloud lies on."""
    stamp_ns = None if frame.points is None else frame.points.stamp_ns
    path = root / "truth" / f"{stamp_ns}_points.npz"
    if frame.points is None or not path.is_file():
        raise EvaluationError(f"{path}: expected the true instances of the cloud of the image at {frame.stamp_ns} ns")
    with np.load(path, allow_pickle=False) as arrays:
        hits = np.asarray(arrays["instance"], np.uint16)
    if len(hits) != len(frame.points.xyz):
        raise EvaluationError(f"{path}: expected {len(frame.points.xyz)} instances, one a point, got {len(hits)}")
    return hits
