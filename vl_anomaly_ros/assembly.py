# SPDX-License-Identifier: Apache-2.0
"""From decoded inputs to a `Frame`: which transforms are looked up at which stamps, and what is said without them.

The node and replay both build their frames here, so the same messages give the same frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from vl_anomaly_ros.config import Config
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.types import ByteArray, CameraCalibration, DoubleArray, Frame, PointCloud

_DECIMALS = 8
"""Transforms are rounded to 1e-8 (10 nm): two TF libraries differ by some 1e-14, and a point that lies exactly on a
border, as points of a sensor with a coarse step do, would fall on either side of it."""


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

    A cloud of another stamp than the image's is carried to the image through `frames.fixed_frame`. Where that frame is
    not in TF at all, the rigid transform at the image's stamp is taken; where it is but has no answer, none is taken:
    points displaced by an unknown ego motion would be measured in the wrong place.

    Args:
        image: (H, W, 3) uint8 RGB.
        stamp_ns: stamp of the image; every transform is looked up at it, never 'latest'.
        camera: name of the camera.
        frame_id: optical frame of the image.
        config: settings.
        transforms: the transforms.
        calibration: of this camera; one of another image size is left out, with a clause in `Frame.missing`.
        points: the cloud that belongs to the image.
        missing: clauses about inputs that the caller already knows to be absent.

    Returns:
        The frame. A transform that is not known is None there and named in `missing`.

    Raises:
        DataError: the image itself cannot be used.
    """
    absent = list(missing)
    if calibration is not None and (calibration.height, calibration.width) != image.shape[:2]:
        absent.append(
            f"the camera info is for {calibration.width}x{calibration.height}, "
            f"the image is {image.shape[1]}x{image.shape[0]}"
        )
        calibration = None
    frames = config.frames

    def lookup(target: str, source: str, at_ns: int) -> DoubleArray | None:
        try:
            return transforms.lookup(target, source, at_ns)
        except GeometryError as error:
            absent.append(str(error))
            return None

    T_camera_points = None
    if points is not None:
        moving = points.stamp_ns != stamp_ns and bool(frames.fixed_frame) and transforms.has_frame(frames.fixed_frame)
        if moving:
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
        T_camera_points=_settled(T_camera_points),
        T_output_camera=_settled(T_output_camera),
        T_output_ego=_settled(T_output_ego),
        missing=tuple(absent),
    )


def _settled(T: DoubleArray | None) -> DoubleArray | None:
    return None if T is None else np.round(T, _DECIMALS) + 0.0  # no -0.0
