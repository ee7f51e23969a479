# SPDX-License-Identifier: Apache-2.0
"""What the vehicle's own motion does to hazard zones, and what is left of it once it is compensated.

A drive of `vl-anomaly simulate drive --rolling --truth-masks` has the same world twice: as a LiDAR sees it that turns
while the vehicle drives, and as one would that stands still in the middle of each sweep. The zones of the second,
without noise and carried to the image by the true motion, are the truth that those of the first are measured against:
what a zone always leaves out (the far side of a thing) is not counted as an error. The second with its noise shows what
the sensor alone does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.drive import DriveFrame, drive_frames
from vl_anomaly_ros.geometry.transforms import inverse
from vl_anomaly_ros.geometry.zones import fuse
from vl_anomaly_ros.types import DepthStatus, HazardZone, PointCloud

STANDING = "standing still"
VARIANTS: dict[str, dict[str, Any]] = {
    "all motion compensated": {},
    "not within the sweep": {"fusion.deskew": False},
    "not at all": {"frames.fixed_frame": ""},
}
EDGES_M = (0.0, 15.0, 30.0, 60.0)


@dataclass(frozen=True)
class Placement:
    """Where one zone lies.

    Attributes:
        variant: of the settings, or `STANDING`.
        name: of the object.
        range_m: true distance from the ego origin to the object, on the ground plane.
        age_s: image stamp minus the start of the sweep.
        shift_m: from the centre of the true zone to the centre of this one, on the ground; NaN where it has no depth.
    """

    variant: str
    name: str
    range_m: float
    age_s: float
    shift_m: float


def measure_motion(root: Path, config: Config | None = None) -> list[Placement]:
    """Placements of the objects at rest that are wholly in the image and have a measured zone when standing still.

    Args:
        root: the drive.
        config: settings, to which those of each variant are added.

    Raises:
        EvaluationError: it is no such drive.
        ReplayError: the recording cannot be read.
    """
    config = config or Config()
    placements: list[Placement] = []
    for variant, values in VARIANTS.items():
        for seen in drive_frames(root, with_values(config, values)):
            exact, noisy = _standing(root, seen, config)
            placements += _placed(seen, variant, seen.zones, exact)
            if not values:
                placements += _placed(seen, STANDING, noisy, exact)
    return placements


def motion_report(placements: Sequence[Placement], edges_m: Sequence[float] = EDGES_M) -> str:
    """Median, 90th percentile and worst shift of each variant by distance, as text."""
    header = f"{'range m':<9}{'ego motion compensated':<24}" + "".join(
        name.rjust(9) for name in ("zones", "no depth", "median m", "p90 m", "worst m")
    )
    lines = [header]
    for low, high in itertools.pairwise(edges_m):
        for variant in (STANDING, *VARIANTS):
            chosen = [p for p in placements if p.variant == variant and low <= p.range_m < high]
            shifts = np.array([p.shift_m for p in chosen if np.isfinite(p.shift_m)])
            figures = [*np.percentile(shifts, (50, 90, 100))] if len(shifts) else [np.nan] * 3
            counts = f"{len(chosen):9d}{len(chosen) - len(shifts):9d}"
            lines.append(f"{f'{low:.0f}-{high:.0f}':<9}{variant:<24}{counts}" + "".join(f"{f:9.3f}" for f in figures))
    return "\n".join(lines)


def _placed(
    seen: DriveFrame, variant: str, zones: Sequence[HazardZone], true_zones: Sequence[HazardZone]
) -> Iterator[Placement]:
    """Placements of the objects of one frame."""
    height, width = seen.instances.shape
    for item, zone, true_zone in zip(seen.items, zones, true_zones):
        x0, y0, x1, y1 = item["bbox"]
        whole = x0 > 0 and y0 > 0 and x1 < width and y1 < height
        if any(item["base_link"]["velocity_mps"]) or not whole or true_zone.status is not DepthStatus.MEASURED:
            continue
        x, y, _ = np.subtract(zone.center_m, true_zone.center_m)
        shift_m = float("nan") if zone.status is DepthStatus.UNKNOWN else float(np.hypot(x, y))
        yield Placement(variant, item["name"], item["distance_m"], seen.frame.points_age_s, shift_m)


def _standing(root: Path, seen: DriveFrame, config: Config) -> tuple[tuple[HazardZone, ...], tuple[HazardZone, ...]]:
    """Zones of the clouds of a LiDAR that stands still, carried to the image by the true motion: exact, and noisy."""
    frame = seen.frame
    path = root / "truth" / f"{0 if frame.points is None else frame.points.stamp_ns}_standing.npz"
    if not path.is_file() or "T_odom_base" not in seen.truth:
        raise EvaluationError(f"{path}: expected what a standing LiDAR sees; simulate the drive with `--rolling`")
    if frame.T_output_camera is None:
        raise EvaluationError(f"frame at {frame.stamp_ns} ns: expected all transforms, got {'; '.join(frame.missing)}")
    with np.load(path, allow_pickle=False) as arrays:
        clouds = [PointCloud(np.asarray(arrays[name], np.float32), frame.stamp_ns, "") for name in ("exact", "points")]
        T_base_lidar = inverse(np.array(seen.truth["T_odom_base"])) @ arrays["T_odom_lidar"]
    T_camera_points = inverse(frame.T_output_camera) @ T_base_lidar
    frames = [replace(frame, points=cloud, T_camera_points=T_camera_points) for cloud in clouds]
    exact, noisy = (fuse(one, seen.regions, seen.instances, config.fusion).zones for one in frames)
    return exact, noisy
