# SPDX-License-Identifier: Apache-2.0
"""A street for benches: one full LiDAR turn over relief, facades, poles and cars, and 20 things that a camera sees."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.geometry.boxes import convex_hull, rectangle
from vl_anomaly_ros.geometry.camera import project
from vl_anomaly_ros.geometry.transforms import apply, inverse
from vl_anomaly_ros.types import CameraCalibration, DoubleArray, FloatArray, Frame, PointCloud, Region

BEAMS, AZIMUTHS = 64, 1875
WIDTH, HEIGHT = 1920, 1080
NUM_THINGS = 20
STAMP_NS = 1_000_000_000
LIDAR = np.array([0.0, 0.0, 1.8])
T_BASE_CAMERA = np.array([[0.0, 0, 1, 1.5], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
"""Optical frame in base_link: 1.5 m ahead of the origin, 1.5 m above the ground, looking ahead."""
HALF_LENGTH_M, HALF_WIDTH_M = 72.0, 24.0
"""Facades close the street on all sides, so that every beam comes back."""


@dataclass(frozen=True)
class Box:
    """An upright box that stands on the ground."""

    x: float
    y: float
    length: float
    width: float
    height: float
    yaw: float = 0.0


def street_frame(seed: int = 0) -> tuple[Frame, list[Region], npt.NDArray[np.uint16]]:
    """A frame with 120 000 points, its regions and its instance map; the same for the same seed.

    The image is black: fusion reads its size alone.
    """
    rng = np.random.default_rng(seed)
    things = _things(rng)
    camera = T_BASE_CAMERA[:3, 3]
    focal = WIDTH / 2  # 90 degrees across
    K = np.array([[focal, 0, (WIDTH - 1) / 2], [0, focal, (HEIGHT - 1) / 2], [0, 0, 1]])
    calibration = CameraCalibration(WIDTH, HEIGHT, K, "camera_optical")
    T_camera_base = inverse(T_BASE_CAMERA)
    instances = np.zeros((HEIGHT, WIDTH), np.uint16)
    numbered = sorted(enumerate(things, 1), key=lambda item: -np.hypot(item[1].x - camera[0], item[1].y))
    for number, thing in numbered:  # the nearer ones hide the farther ones
        uv, _ = project(calibration, apply(T_camera_base, _corners(thing)))
        cv2.fillConvexPoly(instances, np.rint(convex_hull(uv)).astype(np.int32), number)
    base = _scan([*things, *_furniture()], rng)
    # The LiDAR's own frame: turned by 90 degrees, and above the origin.
    T_base_lidar = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, LIDAR[2]], [0, 0, 0, 1]])
    cloud = PointCloud(apply(inverse(T_base_lidar), base).astype(np.float32), STAMP_NS, "lidar")
    frame = Frame(
        stamp_ns=STAMP_NS,
        camera="camera",
        frame_id="camera_optical",
        image=np.zeros((HEIGHT, WIDTH, 3), np.uint8),
        output_frame="base_link",
        calibration=calibration,
        points=cloud,
        T_camera_points=T_camera_base @ T_base_lidar,
        T_output_camera=T_BASE_CAMERA,
    )
    return frame, [_region(instances, number) for number in range(1, NUM_THINGS + 1)], instances


def relief(xy: DoubleArray) -> DoubleArray:
    """(N,) height of the ground in metres: a slope, a crown and long waves."""
    x, y = xy.T
    return np.asarray(0.01 * x - 0.0004 * y * y + 0.04 * np.sin(x / 7) * np.cos(y / 9), np.float64)


def _things(rng: np.random.Generator) -> list[Box]:
    """From a carton to a lorry, 5 to 60 m away, spread over the field of view so that none is wholly hidden."""
    bearings = np.deg2rad(np.linspace(-38, 38, NUM_THINGS))
    ranges = rng.permutation(np.geomspace(5, 60, NUM_THINGS))
    ranges = np.minimum(ranges, (HALF_WIDTH_M - 4) / np.maximum(np.abs(np.sin(bearings)), 1e-3))
    sizes = rng.permutation(np.geomspace(0.3, 5.0, NUM_THINGS))
    # What is far off must be large enough to be a region at all, what is near must not hide the others.
    sizes = np.clip(sizes, ranges / 40, ranges / 8)
    return [
        Box(
            T_BASE_CAMERA[0, 3] + r * np.cos(b), r * np.sin(b), size, size * rng.uniform(0.4, 1),
            size * rng.uniform(0.5, 1), rng.uniform(0, np.pi),
        )
        for b, r, size in zip(bearings, ranges, sizes)
    ]  # fmt: skip


def _furniture() -> list[Box]:
    """What belongs to a street: poles along it, parked cars, hedges before the facades."""
    poles = [Box(x, side * 12.0, 0.2, 0.2, 6.0) for x in range(-66, 67, 12) for side in (-1, 1)]
    cars = [Box(x, side * 15.0, 4.4, 1.8, 1.5) for x in range(-60, 61, 20) for side in (-1, 1)]
    hedges = [Box(x, side * 21.0, 20.0, 1.0, 1.2) for x in range(-60, 61, 30) for side in (-1, 1)]
    return [*poles, *cars, *hedges]


def _corners(box: Box) -> DoubleArray:
    """(8, 3) corners."""
    ground = rectangle(np.array([box.x, box.y]), (box.length, box.width), box.yaw)
    foot = relief(np.array([[box.x, box.y]]))[0]
    return np.concatenate([np.c_[ground, np.full(4, z)] for z in (foot, foot + box.height)])


def _scan(boxes: list[Box], rng: np.random.Generator) -> FloatArray:
    """(120 000, 3) points in base_link, in the order of the beams' firing."""
    azimuth = np.linspace(-np.pi, np.pi, AZIMUTHS, endpoint=False)
    elevation = np.deg2rad(np.linspace(2.0, -24.8, BEAMS))
    a, e = (v.ravel() for v in np.meshgrid(azimuth, elevation, indexing="ij"))
    ray = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], 1)
    to_wall = np.array([HALF_LENGTH_M, HALF_WIDTH_M]) / np.maximum(np.abs(ray[:, :2]), 1e-9)
    reach = to_wall.min(axis=1)
    ground = np.where(ray[:, 2] < 0, -LIDAR[2] / np.minimum(ray[:, 2], -1e-9), np.inf)
    for _ in range(8):  # a fixed point: the relief is much flatter than the beams that meet it
        height = relief(np.minimum(ground, reach)[:, None] * ray[:, :2])
        ground = np.where(ray[:, 2] < 0, (height - LIDAR[2]) / np.minimum(ray[:, 2], -1e-9), np.inf)
    range_m = np.minimum(reach, np.where(ground > 0, ground, np.inf))
    for box in boxes:
        range_m = np.minimum(range_m, _range_to(box, ray))
    xyz = LIDAR + ray * (range_m + rng.normal(0, 0.02, len(range_m)))[:, None]
    return np.asarray(xyz, np.float32)


def _range_to(box: Box, ray: DoubleArray) -> DoubleArray:
    """(N,) range along the rays to the box, infinite where they miss it."""
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    foot = np.array([box.x, box.y, relief(np.array([[box.x, box.y]]))[0]])
    start, along = turn @ (LIDAR - foot), ray @ turn.T + 1e-12
    low, high = np.array([-box.length / 2, -box.width / 2, 0]), np.array([box.length / 2, box.width / 2, box.height])
    a, b = (low - start) / along, (high - start) / along
    enter, leave = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)


def _region(instances: npt.NDArray[np.uint16], number: int) -> Region:
    """What the image shows of a thing."""
    v, u = np.nonzero(instances == number)
    bbox = (int(u.min()), int(v.min()), int(u.max()) + 1, int(v.max()) + 1)
    return Region(number, bbox, len(u), (float(u.mean()), float(v.mean())), 0.9, (0.9, 0.9, 0.9))
