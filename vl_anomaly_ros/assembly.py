# SPDX-License-Identifier: Apache-2.0
"""From decoded inputs to a `Frame`: which transforms are looked up at which stamps, and what is said without them.

The node and replay both build their frames here, so the same messages give the same frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from vl_anomaly_ros.config import Config, FrameConfig
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.geometry.deskew import deskewed
from vl_anomaly_ros.types import ByteArray, CameraCalibration, DoubleArray, Frame, PointCloud

_DECIMALS = 8
"""Transforms are rounded to 1e-8 (10 nm): two TF libraries differ by some 1e-14, and a point that lies exactly on a
border, as points of a sensor with a coarse step do, would fall on either side of it."""


_UNIT_TOLERANCE = 0.01


class TransformSource(Protocol):
    """What is known of the coordinate frames."""

    def lookup(self, target: str, source: str, stamp_ns: int) -> DoubleArray:
        """(4, 4) float64 that maps `source` into `target`, both at `stamp_ns`; `GeometryError` if unknown."""

    def has_frame(self, frame: str) -> bool:
        """Whether any transform names this frame."""


def assemble_frame(
    *,
    image: ByteArray,
    stamp_ns: int,
    camera: str,
    frame_id: str,
    config: Config,
    transforms: TransformSource,
    calibration: CameraCalibration | None = None,
    points: PointCloud | None = None,
    missing: Sequence[str] = (),
) -> Frame:
    """One image with everything that is known at its stamp.

    A slash that leads the name of a frame, as ROS 1 had it, is left out. Without a stamp or a frame the image is judged
    all the same, but placed nowhere.

    A cloud of another stamp than the image's is carried to the image through `frames.fixed_frame`. Where that frame is
    not in TF at all, the rigid transform at the image's stamp is taken; where it is but has no answer, none is taken:
    points displaced by an unknown ego motion would be measured in the wrong place.

    Args:
        image: (H, W, 3) uint8 RGB.
        stamp_ns: stamp of the image; every transform is looked up at it, never 'latest'.
        camera: name of the camera.
        frame_id: optical frame of the image, as its message names it.
        config: settings.
        transforms: the transforms.
        calibration: of this camera; one of another image size is left out, with a clause in `Frame.missing`.
        points: the cloud that belongs to the image, at rest (see `at_rest`).
        missing: clauses about inputs that the caller already knows to be absent.

    Returns:
        The frame. A transform that is not known is None there and named in `missing`.

    Raises:
        DataError: the image itself cannot be used.
    """
    absent = list(missing)
    frame_id = bare(frame_id)
    if calibration is not None and (calibration.height, calibration.width) != image.shape[:2]:
        absent.append(
            f"the camera info is for {calibration.width}x{calibration.height}, "
            f"the image is {image.shape[1]}x{image.shape[0]}"
        )
        calibration = None
    frames = config.frames

    def lookup(target: str, source: str, at_ns: int) -> DoubleArray | None:
        try:
            return _lookup(transforms, target, source, at_ns)
        except GeometryError as error:
            if str(error) not in absent:
                absent.append(str(error))
            return None

    T_camera_points = None
    if points is not None:
        if points.offsets_ns is not None and not _moves_within(points, config, transforms):
            points = replace(points, offsets_ns=None)  # nobody asks for them
        if moves(points.stamp_ns, stamp_ns, config, transforms):
            T_fixed_points = lookup(frames.fixed_frame, points.frame_id, points.stamp_ns)
            T_camera_fixed = lookup(frame_id, frames.fixed_frame, stamp_ns)
            if T_fixed_points is not None and T_camera_fixed is not None:
                T_camera_points = T_camera_fixed @ T_fixed_points
        else:
            T_camera_points = lookup(frame_id, points.frame_id, stamp_ns)
    T_output_camera = lookup(frames.output_frame, frame_id, stamp_ns)
    T_output_ego = None
    if frames.ego_frame != frames.output_frame:
        T_output_ego = lookup(frames.output_frame, frames.ego_frame, stamp_ns)
    return Frame(
        stamp_ns=stamp_ns,
        camera=camera,
        frame_id=frame_id,
        image=image,
        output_frame=frames.output_frame,
        calibration=calibration,
        points=points,
        T_camera_points=None if T_camera_points is None else _settled(T_camera_points),
        T_output_camera=None if T_output_camera is None else _settled(T_output_camera),
        T_output_ego=None if T_output_ego is None else _settled(T_output_ego),
        missing=tuple(absent),
    )


def moves(cloud_ns: int, image_ns: int, config: Config, transforms: TransformSource) -> bool:
    """Whether the ego motion between a cloud and an image is known to TF by way of a frame at rest."""
    return cloud_ns != image_ns and bool(fixed_frame(config.frames, transforms))


def fixed_frame(frames: FrameConfig, transforms: TransformSource) -> str:
    """The name of the frame at rest in the world; empty where none is wanted, or TF does not name it."""
    fixed = bare(frames.fixed_frame)
    return fixed if fixed and transforms.has_frame(fixed) else ""


def at_rest(points: PointCloud, config: Config, transforms: TransformSource) -> tuple[PointCloud, list[str]]:
    """A cloud without the motion within its sweep, and clauses for `Frame.missing`: what of it cannot be used, and why.

    A cloud without the times of its points comes back as it is, and so does any without `fusion.deskew` or where
    `frames.fixed_frame` is not in TF. One whose sweep TF does not cover, or whose times are impossible, is used as it
    is, with a clause: its points lie where the sensor saw them, each in its frame of that moment. It keeps their times,
    by which `geometry.zones` knows that its zones are not to be trusted as they stand.
    """
    clauses = list(points.notes)
    if _moves_within(points, config, transforms):
        fixed = bare(config.frames.fixed_frame)
        try:
            points = deskewed(points, lambda at_ns: _settled(_lookup(transforms, fixed, points.frame_id, at_ns)))
        except GeometryError as error:
            clauses.append(f"motion within the sweep is not taken out: {error}")
    return points, clauses


def _moves_within(points: PointCloud, config: Config, transforms: TransformSource) -> bool:
    """Whether the motion within the sweep of a cloud is to be taken out."""
    wanted = points.offsets_ns is not None and config.fusion.deskew
    return wanted and bool(fixed_frame(config.frames, transforms))


def is_unit(quaternion_xyzw: Sequence[float]) -> bool:
    """Whether a quaternion of TF is one of a rotation, as tf2 judges it.

    >>> is_unit([0.0, 0.0, 0.0, 1.004]), is_unit([0.0, 0.0, 0.0, 2.0])
    (True, False)
    """
    return abs(sum(part * part for part in quaternion_xyzw) - 1.0) <= _UNIT_TOLERANCE


def bare(frame_id: str) -> str:
    """The name of a frame without the leading slash of ROS 1.

    >>> bare("/camera"), bare("camera")
    ('camera', 'camera')
    """
    return frame_id.lstrip("/")


def _lookup(transforms: TransformSource, target: str, source: str, stamp_ns: int) -> DoubleArray:
    """(4, 4) that maps `source` into `target`; the same words in the node and in replay where a message is to blame.

    Raises:
        GeometryError: not known.
    """
    target, source = bare(target), bare(source)
    if not target or not source:
        raise GeometryError(
            f"no transform {source or '?'} -> {target or '?'}: a message names no frame (header.frame_id is empty); "
            "let the driver name it"
        )
    if stamp_ns <= 0:  # which means 'latest' to TF
        raise GeometryError(
            f"no transform {source} -> {target}: a message is not stamped (header.stamp is 0 or less); "
            "let the driver stamp it"
        )
    return np.eye(4) if target == source else transforms.lookup(target, source, stamp_ns)


def _settled(T: DoubleArray) -> DoubleArray:
    return np.round(T, _DECIMALS) + 0.0  # no -0.0
