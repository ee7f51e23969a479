# SPDX-License-Identifier: Apache-2.0
"""Judge hazard zones against true boxes as a planner would: how far, in which direction, and made of which points.

One view sees only the near sides of an object, so neither the centre nor the size of the whole object is the measure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.geometry.boxes import distance_to_polygon, rectangle
from vl_anomaly_ros.geometry.camera import project, rays
from vl_anomaly_ros.geometry.transforms import apply
from vl_anomaly_ros.types import BoolArray, CameraCalibration, DepthStatus, DoubleArray, Frame, HazardZone, Region

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
        range_m: true distance of the nearest point of the box from the ego origin, on the ground plane, of the part of
            the box that is in view: what the image cuts off is in no region.
        object_points: the object's LiDAR points that fall into the image.
        status: of the zone.
        distance_error_m: zone minus truth; negative: the zone is nearer (the safe side).
        whole_distance_error_m: the same against the whole box, in view or not.
        bearing_error_deg: middle of the zone's angular extent minus that of the object's visible points.
        box_bearing_error_deg: the same against the part of the box in view, what others hide included.
        recall: share of the object's points that the zone holds.
        foreign: share of the zone's points outside the box grown by `SLACK_M`.
    """

    name: str
    kind: str
    range_m: float
    object_points: int
    status: DepthStatus
    distance_error_m: float
    whole_distance_error_m: float
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


@dataclass(frozen=True)
class View:
    """What the sensors saw, in the frame of the zones.

    Attributes:
        xyz: (N, 3) the whole cloud, in the order of `Frame.points`.
        pixel: (N, 2) where the points fall in the image.
        in_image: (N,) whether they do; only those can be found.
        T_zone_points: (4, 4) the cloud's frame to the zones'.
        edges: (n, 3) half-planes a x + b y + c >= 0 on the ground that bound the field of view.
        ego: (2,) ego origin.
    """

    xyz: DoubleArray
    pixel: DoubleArray
    in_image: BoolArray
    T_zone_points: DoubleArray
    edges: DoubleArray
    ego: DoubleArray

    @classmethod
    def of(cls, frame: Frame) -> View:
        """The view of a frame that has everything.

        Raises:
            EvaluationError: it has not.
        """
        calibration, points = frame.calibration, frame.points
        if calibration is None or points is None or frame.T_camera_points is None or frame.T_output_camera is None:
            raise EvaluationError(
                f"frame at {frame.stamp_ns} ns: expected calibration, cloud and transforms, "
                f"got {'; '.join(frame.missing)}; zones can only be judged with all of them"
            )
        pixel, in_image = project(calibration, apply(frame.T_camera_points, points.xyz))
        T_zone_points = np.asarray(frame.T_output_camera @ frame.T_camera_points, np.float64)
        ego = np.zeros(2) if frame.T_output_ego is None else frame.T_output_ego[:2, 3]
        edges = field_of_view(calibration, frame.T_output_camera)
        return cls(apply(T_zone_points, points.xyz), pixel, in_image, T_zone_points, edges, ego)


def judge(zone: HazardZone, truth: TrueBox, view: View, kind: str = "", own: BoolArray | None = None) -> Judgement:
    """Compare a zone with the object that it should enclose, both in the frame of the zones.

    Args:
        zone: to judge.
        truth: the object.
        view: what the sensors saw.
        kind: of region, for the table.
        own: (N,) which points are the object's; None: those inside the true box.
    """
    own = (truth.contains(view.xyz) if own is None else own) & view.in_image
    found = np.zeros(len(view.xyz), bool)
    found[zone.point_indices] = True
    in_view = clip(truth.polygon, view.edges)
    in_view = in_view if len(in_view) >= 3 else truth.polygon
    true_range = distance_to_polygon(in_view, view.ego)
    seen = view.xyz[own, :2] if own.any() else in_view
    middle = middle_bearing(zone.footprint_m - view.ego)
    return Judgement(
        name=truth.name,
        kind=kind,
        range_m=true_range,
        object_points=int(own.sum()),
        status=zone.status,
        distance_error_m=zone.distance_m - true_range,
        whole_distance_error_m=zone.distance_m - distance_to_polygon(truth.polygon, view.ego),
        bearing_error_deg=_turn_deg(middle - middle_bearing(seen - view.ego)),
        box_bearing_error_deg=_turn_deg(middle - middle_bearing(in_view - view.ego)),
        recall=float(np.sum(found & own) / max(own.sum(), 1)),
        foreign=float(np.mean(~truth.contains(view.xyz[found], SLACK_M))) if found.any() else 0.0,
    )


def region_of(mask: BoolArray, value: int = 1) -> Region:
    """The region that a boolean mask with at least one pixel describes.

    >>> region_of(np.array([[False, True, True], [False, False, True]])).bbox
    (1, 0, 3, 2)
    """
    v, u = np.nonzero(mask)
    bbox = (int(u.min()), int(v.min()), int(u.max()) + 1, int(v.max()) + 1)
    return Region(value, bbox, len(u), (float(u.mean()), float(v.mean())), 1.0, (1.0, 1.0, 1.0))


def clip(polygon: DoubleArray, half_planes: DoubleArray) -> DoubleArray:
    """The part of a convex polygon on the positive side of all half-planes (n, 3) a x + b y + c >= 0.

    >>> clip(np.array([[0.0, 0], [2, 0], [2, 1], [0, 1]]), np.array([[1.0, 0, -1]])).tolist()
    [[1.0, 0.0], [2.0, 0.0], [2.0, 1.0], [1.0, 1.0]]
    """
    for plane in half_planes:
        side = polygon @ plane[:2] + plane[2]
        corners = []
        for i, (here, there) in enumerate(zip(polygon, np.roll(polygon, -1, axis=0))):
            a, b = float(side[i]), float(side[(i + 1) % len(polygon)])
            if a >= 0:
                corners.append(here)
            if a * b < 0:
                corners.append(here + (there - here) * a / (a - b))
        if not corners:
            return np.zeros((0, 2))
        polygon = np.array(corners)
    return polygon


def field_of_view(calibration: CameraCalibration, T_zone_camera: DoubleArray) -> DoubleArray:
    """(2, 3) half-planes on the ground, left and right of which the image ends, for a camera that looks ahead."""
    middle = (calibration.height - 1) / 2
    edge = rays(calibration, np.array([[-0.5, middle], [calibration.width - 0.5, middle]])) @ T_zone_camera[:3, :3].T
    # Right of the left edge, left of the right edge.
    normal = np.array([[edge[0, 1], -edge[0, 0]], [-edge[1, 1], edge[1, 0]]])
    return np.concatenate([normal, -(normal @ T_zone_camera[:2, 3:])], axis=1)


def middle_bearing(xy: DoubleArray) -> float:
    """Middle of the angular extent of points seen from the origin, radians.

    >>> round(middle_bearing(np.array([[10.0, 0.0], [10.0, 10.0], [20.0, 0.5]])), 6)
    0.392699
    """
    towards = math.atan2(float(xy[:, 1].mean()), float(xy[:, 0].mean()))
    turn = np.remainder(np.arctan2(xy[:, 1], xy[:, 0]) - towards + math.pi, 2 * math.pi) - math.pi
    return towards + float(turn.min() + turn.max()) / 2


def _turn_deg(angle: float) -> float:
    return math.degrees(math.remainder(angle, 2 * math.pi))
