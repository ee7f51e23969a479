# SPDX-License-Identifier: Apache-2.0
"""Judge hazard zones against true boxes as a planner would: how far, in which direction, and made of which points.

One view sees only the near sides of an object, so neither the centre nor the size of the whole object is the measure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vl_anomaly_ros.geometry.boxes import distance_to_polygon, rectangle
from vl_anomaly_ros.types import BoolArray, DepthStatus, DoubleArray, HazardZone

SLACK_M = 0.2
"""Points so far outside the true box still count as the object's (labels are loose)."""


@dataclass(frozen=True)
class TrueBox:
    """An upright box that an object fills, in the frame of the zones.

    Attributes:
        name: class or name of the object.
        center_m: (3,) geometric centre.
        size_m: (3,) length, width, height.
        yaw_rad: heading of the length, counter-clockwise about +z.
    """

    name: str
    center_m: tuple[float, float, float]
    size_m: tuple[float, float, float]
    yaw_rad: float

    def contains(self, xyz: DoubleArray, slack_m: float = 0.0) -> BoolArray:
        """(N,) whether points lie in the box grown by `slack_m` on all sides."""
        offset = xyz - np.array(self.center_m)
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        own = np.stack([c * offset[:, 0] + s * offset[:, 1], c * offset[:, 1] - s * offset[:, 0], offset[:, 2]], 1)
        return np.asarray(np.all(np.abs(own) <= np.array(self.size_m) / 2 + slack_m, axis=1))

    @property
    def polygon(self) -> DoubleArray:
        """(4, 2) ground polygon, counter-clockwise."""
        return rectangle(np.array(self.center_m[:2]), self.size_m[:2], self.yaw_rad)


@dataclass(frozen=True)
class Judgement:
    """How one zone compares with the truth.

    Attributes:
        name, kind: object and kind of region.
        range_m: true distance of the nearest point of the box from the ego origin, on the ground plane.
        object_points: LiDAR points inside the true box that fall into the image.
        status: of the zone.
        distance_error_m: zone minus truth; negative: the zone is nearer (the safe side).
        bearing_error_deg: middle of the zone's angular extent minus that of the object's visible points.
        box_bearing_error_deg: the same against the whole box, hidden parts included.
        recall: share of the object's points that the zone holds.
        foreign: share of the zone's points outside the box grown by `SLACK_M`.
    """

    name: str
    kind: str
    range_m: float
    object_points: int
    status: DepthStatus
    distance_error_m: float
    bearing_error_deg: float
    box_bearing_error_deg: float
    recall: float
    foreign: float

    @property
    def good(self) -> bool:
        """Whether the zone meets the required bounds: 0.3 m, 1 degree, 90 % and 10 %."""
        return (
            abs(self.distance_error_m) <= 0.3
            and abs(self.bearing_error_deg) <= 1.0
            and self.recall >= 0.9
            and self.foreign <= 0.1
        )


def judge(
    zone: HazardZone, truth: TrueBox, xyz: DoubleArray, in_image: BoolArray, ego: DoubleArray, kind: str = ""
) -> Judgement:
    """Compare a zone with the object that it should enclose.

    Args:
        zone: to judge.
        truth: in the frame of the zone.
        xyz: (N, 3) the whole cloud in that frame, in the order of `Frame.points`.
        in_image: (N,) whether a point falls into the image; only those can be found.
        ego: (2,) ego origin in that frame.
        kind: of region, for the table.
    """
    own = truth.contains(xyz) & in_image
    found = np.zeros(len(xyz), bool)
    found[zone.point_indices] = True
    true_range = distance_to_polygon(truth.polygon, ego)
    seen = xyz[own, :2] if own.any() else truth.polygon
    foreign = float(np.mean(~truth.contains(xyz[found], SLACK_M))) if found.any() else 0.0
    middle = middle_bearing(zone.footprint_m - ego)
    return Judgement(
        truth.name,
        kind,
        true_range,
        int(own.sum()),
        zone.status,
        zone.distance_m - true_range,
        _turn_deg(middle - middle_bearing(seen - ego)),
        _turn_deg(middle - middle_bearing(truth.polygon - ego)),
        float(np.sum(found & own) / max(own.sum(), 1)),
        foreign,
    )


def middle_bearing(xy: DoubleArray) -> float:
    """Middle of the angular extent of points seen from the origin, radians.

    >>> middle_bearing(np.array([[10.0, 1.0], [10.0, -1.0], [20.0, 0.5]]))
    0.0
    """
    towards = math.atan2(float(xy[:, 1].mean()), float(xy[:, 0].mean()))
    turn = np.remainder(np.arctan2(xy[:, 1], xy[:, 0]) - towards + math.pi, 2 * math.pi) - math.pi
    return towards + float(turn.min() + turn.max()) / 2


def _turn_deg(angle: float) -> float:
    return math.degrees(math.remainder(angle, 2 * math.pi))


def table(judgements: Sequence[Judgement]) -> str:
    """One line an object, as text."""
    lines = [
        f"{'object':<12}{'region':<7}{'range m':>8}{'points':>7} {'status':<9}{'dist m':>7}{'bear deg':>9}"
        f"{'box deg':>8}{'recall':>7}{'foreign':>8}"
    ]
    lines += [
        f"{j.name:<12}{j.kind:<7}{j.range_m:8.1f}{j.object_points:7d} {j.status.name:<9}{j.distance_error_m:+7.2f}"
        f"{j.bearing_error_deg:+9.2f}{j.box_bearing_error_deg:+8.2f}{j.recall:7.2f}{j.foreign:8.2f}"
        f"{'' if j.good else '  *'}"
        for j in judgements
    ]
    return "\n".join(lines)
