# SPDX-License-Identifier: Apache-2.0
"""Hazard zones on a simulated drive, with the true masks of its objects taken as the regions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.config import Config
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.judging import Judgement, TrueBox, View, judge, region_of
from vl_anomaly_ros.evaluation.kitti import recorded_frames
from vl_anomaly_ros.geometry.zones import fuse
from vl_anomaly_ros.types import Frame


def judge_drive(root: Path, config: Config | None = None) -> list[Judgement]:
    """Zones of every object of a drive that has a mask as large as a region must be; kind is "anomaly" or "known".

    Args:
        root: what `vl-anomaly simulate drive --truth-masks` wrote.
        config: settings; `regions.min_area_px` and `fusion` are used.

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
    settings = config or Config()
    truth = {line["stamp_ns"]: line["objects"] for line in map(json.loads, lines.read_text().splitlines())}
    judged = []
    for frame in recorded_frames(root, settings):
        mask = root / "truth" / f"{frame.stamp_ns}_instances.png"
        instances = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
        if instances is None or frame.stamp_ns not in truth:
            raise EvaluationError(f"{mask}: expected the true instances of the image at {frame.stamp_ns} ns")
        judged += _judge_frame(frame, truth[frame.stamp_ns], instances.astype(np.uint16), _hits(root, frame), settings)
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


def _judge_frame(
    frame: Frame,
    objects: list[dict[str, Any]],
    instances: npt.NDArray[np.uint16],
    hits: npt.NDArray[np.uint16],
    config: Config,
) -> list[Judgement]:
    """Every object of one frame, fused together as the regions of one image are."""
    large = [item for item in objects if item["area_px"] >= config.regions.min_area_px]
    regions = [region_of(instances == item["instance"], item["instance"]) for item in large]
    view = View.of(frame)
    zones = fuse(frame, regions, instances, config.fusion).zones
    judged = []
    for item, zone in zip(large, zones):
        pose = item["base_link"]
        box = TrueBox(item["name"], tuple(pose["center_m"]), tuple(item["size_m"]), pose["yaw_rad"])
        kind = "anomaly" if item["is_anomaly"] else "known"
        judged.append(judge(zone, box, view, kind, hits == item["instance"]))
    return judged
