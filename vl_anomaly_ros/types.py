# SPDX-License-Identifier: Apache-2.0
"""The values that travel through the pipeline. Shapes and dtypes are checked once, when a value is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import DataError

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
ByteArray = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]


def check_array(name: str, value: Any, shape: tuple[int | None, ...], dtype: type[np.generic]) -> None:
    """Raise `DataError` unless `value` is an array of that shape (None: any length) and dtype.

    >>> check_array("points", np.zeros((5, 3), np.float32), (None, 3), np.float32)
    """
    if not isinstance(value, np.ndarray):
        raise DataError(f"{name}: expected a numpy array, got {type(value).__name__}")
    wrong_shape = value.ndim != len(shape) or any(
        want is not None and want != have for want, have in zip(shape, value.shape)
    )
    if wrong_shape or value.dtype != np.dtype(dtype):
        wanted = "x".join("?" if n is None else str(n) for n in shape)
        raise DataError(
            f"{name}: expected {wanted} {np.dtype(dtype).name}, "
            f"got {'x'.join(map(str, value.shape)) or 'a scalar'} {value.dtype.name}"
        )


def bgr_behind(image: ByteArray) -> ByteArray | None:
    """The BGR pixels that an RGB image is a view of, read backwards; None where it is none.

    OpenCV and numpy would copy such a view byte by byte.
    """
    return image[:, :, ::-1] if image.strides[2] < 0 else None


@dataclass(frozen=True)
class CameraCalibration:
    """Pinhole intrinsics of one camera, as in sensor_msgs/CameraInfo.

    Attributes:
        width, height: image size in pixels that the matrices refer to.
        K: (3, 3) float64 intrinsic matrix of the raw image.
        D: (n,) float64 distortion coefficients; empty or all zero for a rectified image.
        distortion_model: such as "plumb_bob", "rational_polynomial", "equidistant".
        R: (3, 3) float64 rectification rotation.
        P: (3, 4) float64 projection matrix of the rectified image.
        frame_id: optical frame (x right, y down, z forward).
    """

    width: int
    height: int
    K: DoubleArray
    frame_id: str
    D: DoubleArray = field(default_factory=lambda: np.zeros(0))
    distortion_model: str = "plumb_bob"
    R: DoubleArray = field(default_factory=lambda: np.eye(3))
    P: DoubleArray | None = None

    def __post_init__(self) -> None:
        check_array("CameraInfo K", self.K, (3, 3), np.float64)
        check_array("CameraInfo D", self.D, (None,), np.float64)
        check_array("CameraInfo R", self.R, (3, 3), np.float64)
        if self.P is not None:
            check_array("CameraInfo P", self.P, (3, 4), np.float64)
        if self.width <= 0 or self.height <= 0:
            raise DataError(
                f"CameraInfo: expected a positive image size, got {self.width}x{self.height}; "
                "check the camera driver's calibration"
            )
        if not np.all(np.isfinite(self.K)) or self.K[0, 0] <= 0 or self.K[1, 1] <= 0:
            raise DataError(
                f"CameraInfo: expected positive focal lengths in K, got fx={self.K[0, 0]}, fy={self.K[1, 1]}; "
                "the camera is not calibrated"
            )


@dataclass(frozen=True)
class PointCloud:
    """LiDAR points.

    Attributes:
        xyz: (N, 3) float32, metres, in `frame_id`; every row finite.
        stamp_ns: acquisition time.
        frame_id: sensor frame.
        offsets_ns: (N,) int64, acquisition time of each point minus `stamp_ns`; None: not known, or of no account. In a
            frame: the motion within the sweep should have been taken out, but TF does not say how the vehicle moved.
        notes: what of the message could not be used, one clause each, such as times that make no sense.
    """

    xyz: FloatArray
    stamp_ns: int
    frame_id: str
    offsets_ns: npt.NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_array("point cloud", self.xyz, (None, 3), np.float32)
        if self.offsets_ns is not None:
            check_array("times of the points", self.offsets_ns, (len(self.xyz),), np.int64)


@dataclass(frozen=True)
class Frame:
    """One image with all that was known at its stamp.

    Attributes:
        stamp_ns: acquisition time of the image.
        camera: name of the camera.
        frame_id: optical frame of the image.
        image: (H, W, 3) uint8, RGB.
        calibration: None where no CameraInfo was received.
        points: None where no cloud was received.
        T_camera_points: (4, 4) float64, maps points (at the cloud's stamp) into the optical frame at the image's stamp.
        T_output_camera: (4, 4) float64, maps the optical frame into `output_frame`, both at the image's stamp.
        output_frame: frame of the hazard zones (z up).
        T_output_ego: (4, 4) float64, maps the ego frame into `output_frame`; None: the same frame.
        missing: why inputs are absent, one clause each, such as "no transform lidar_top -> camera at 1.2 s".
    """

    stamp_ns: int
    camera: str
    frame_id: str
    image: ByteArray
    output_frame: str
    calibration: CameraCalibration | None = None
    points: PointCloud | None = None
    T_camera_points: DoubleArray | None = None
    T_output_camera: DoubleArray | None = None
    T_output_ego: DoubleArray | None = None
    tf_age_s: float = math.nan
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_array("image", self.image, (None, None, 3), np.uint8)
        if 0 in self.image.shape:
            raise DataError(f"image: expected at least one pixel, got {self.image.shape[1]}x{self.image.shape[0]}")
        for name in ("T_camera_points", "T_output_camera", "T_output_ego"):
            if getattr(self, name) is not None:
                check_array(name, getattr(self, name), (4, 4), np.float64)
        if self.calibration is not None and (self.calibration.height, self.calibration.width) != self.image.shape[:2]:
            raise DataError(
                f"camera {self.camera}: CameraInfo is for {self.calibration.width}x{self.calibration.height}, "
                f"the image is {self.image.shape[1]}x{self.image.shape[0]}; publish the CameraInfo of this image"
            )

    @property
    def points_age_s(self) -> float:
        """Image stamp minus cloud stamp in seconds, NaN without a cloud."""
        return math.nan if self.points is None else (self.stamp_ns - self.points.stamp_ns) * 1e-9


@dataclass(frozen=True)
class ScoreMap:
    """What the engine says of an image, at mask resolution: every map covers the whole image.

    Attributes:
        probability: (h, w) float32, calibrated anomaly probability, 0..1.
        sources: (3, h, w) float32: detector, text and CLIP scores, 0..1.
        class_map: (h, w) int32, index of the most probable known class.
        clip_features: (D, hc, wc) float32, dense CLIP features, for naming.
        width, height: of the image in pixels.
    """

    probability: FloatArray
    sources: FloatArray
    class_map: IntArray
    clip_features: FloatArray
    width: int
    height: int

    def __post_init__(self) -> None:
        check_array("probability", self.probability, (None, None), np.float32)
        check_array("sources", self.sources, (3, None, None), np.float32)
        check_array("class_map", self.class_map, self.sources.shape[1:], np.int32)
        check_array("clip_features", self.clip_features, (None, None, None), np.float32)
        empty = [name for name in ("probability", "sources", "clip_features") if 0 in getattr(self, name).shape]
        if empty or self.width <= 0 or self.height <= 0:
            raise DataError(
                f"score map: expected an image and maps with at least one cell, got {self.width}x{self.height} pixels"
                + "".join(f", {name} of {getattr(self, name).shape}" for name in empty)
            )


class NameSource(str, Enum):
    """Where a name came from."""

    NONE = "none"
    VOCABULARY = "vocabulary"
    DICTIONARY = "dictionary"
    TAGGER = "tagger"


@dataclass(frozen=True)
class AnomalyLabel:
    """The name of a region. An empty name with source NONE: nothing fits well enough."""

    name: str = ""
    source: NameSource = NameSource.NONE
    confidence: float = 0.0
    approved: bool = False
    runners_up: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Region:
    """A connected anomalous area of one image.

    Attributes:
        id: value of the region in the instance map, from 1.
        bbox: x0, y0, x1, y1 in pixels of the input image; x1 and y1 exclusive.
        area_px: number of pixels.
        centroid_px: x, y.
        probability: mean calibrated anomaly probability over the region.
        sources: mean detector, text and CLIP scores over the region.
        label: its name.
        merged: of how many areas; more than one only in the last region, where there were too many to hold each.
    """

    id: int
    bbox: tuple[int, int, int, int]
    area_px: int
    centroid_px: tuple[float, float]
    probability: float
    sources: tuple[float, float, float]
    label: AnomalyLabel = AnomalyLabel()
    merged: int = 1


class DepthStatus(IntEnum):
    """How the depth of a hazard zone is known (HazardZone.msg holds the same values)."""

    MEASURED = 0
    SPARSE = 1
    STALE = 2
    UNKNOWN = 3


@dataclass(frozen=True)
class HazardZone:
    """Where a region is in 3D, in level axes (x forward, y left, z up) at `FrameResult.zone_frame`.

    Attributes:
        id: unique within the frame (stable over time once tracked).
        region_id: the region it belongs to.
        status: how its depth is known; `reason` says why it is not MEASURED.
        center_m: (3,) centre of the oriented box of what was seen.
        size_m: (3,) length, width, height of that box.
        yaw_rad: heading of the length axis, counter-clockwise about +z, in (-pi/2, pi/2].
        position_covariance: (3, 3) float64 of the centre, m^2.
        footprint_m: (n, 2) float64 convex ground polygon, counter-clockwise.
        z_range_m: lowest and highest z.
        distance_m: from the ego origin to the nearest point of the zone, on the ground plane.
        point_indices: (n,) int64 indices into `Frame.points.xyz`; empty for UNKNOWN.
    """

    id: int
    region_id: int
    status: DepthStatus
    reason: str
    center_m: tuple[float, float, float]
    size_m: tuple[float, float, float]
    yaw_rad: float
    position_covariance: DoubleArray
    footprint_m: DoubleArray
    z_range_m: tuple[float, float]
    distance_m: float
    point_indices: npt.NDArray[np.int64]

    @property
    def num_points(self) -> int:
        """Number of LiDAR points of the object."""
        return len(self.point_indices)


@dataclass(frozen=True)
class Timing:
    """Milliseconds spent on one frame: in the engine, from start to end of `Pipeline.process`, waiting for inputs."""

    engine_ms: float
    total_ms: float
    inputs_ms: float = 0.0


class Pictures(Protocol):
    """What is said of each pixel of an image. Whether it is made beforehand or when looked at is left open."""

    @property
    def probability(self) -> FloatArray:
        """(H, W) float32 calibrated anomaly probability."""

    @property
    def mask(self) -> ByteArray:
        """(H, W) uint8, 255 anomaly, 0 not."""

    @property
    def instances(self) -> npt.NDArray[np.uint16]:
        """(H, W) uint16 region ids, 0 none."""

    @property
    def segmentation(self) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
        """(H, W) uint8 or uint16 index into `FrameResult.class_names`."""


@dataclass(frozen=True)
class GivenPictures:
    """`Pictures` that are there already; by default none."""

    probability: FloatArray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    mask: ByteArray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    instances: npt.NDArray[np.uint16] = field(default_factory=lambda: np.zeros((0, 0), np.uint16))
    segmentation: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] = field(
        default_factory=lambda: np.zeros((0, 0), np.uint8)
    )


@dataclass(frozen=True)
class FrameResult:
    """All that the pipeline says of one frame.

    Attributes:
        frame: the input.
        ok: False: the frame could not be judged, `reason` says why, and every field below is empty.
        pictures: what is said of each pixel; also read as `result.probability`, `.mask`, `.instances`,
            `.segmentation`. A picture may be made when it is first read.
        class_names: known classes, then this frame's anomaly names.
        zone_frame: frame of the zones: `Frame.output_frame`, or the optical frame where no transform was known.
        R_zone_level: (3, 3) float64. Zones are held in level axes (x forward, y left, z up); this rotates them into
            `zone_frame`. Identity unless `zone_frame` is the optical frame.
        engine: backend and bundle.
        method: how anomalies were scored, as `method.name` of the settings.
        vocabulary_revision: counts changes of the vocabulary.
    """

    frame: Frame
    ok: bool
    reason: str = ""
    pictures: Pictures = field(default_factory=GivenPictures)
    class_names: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()
    zones: tuple[HazardZone, ...] = ()
    zone_frame: str = ""
    R_zone_level: DoubleArray = field(default_factory=lambda: np.eye(3))
    engine: str = ""
    method: str = ""
    vocabulary_revision: int = 0
    timing: Timing = Timing(0.0, 0.0)

    @property
    def probability(self) -> FloatArray:
        """(H, W) float32 calibrated anomaly probability."""
        return self.pictures.probability

    @property
    def mask(self) -> ByteArray:
        """(H, W) uint8, 255 anomaly, 0 not."""
        return self.pictures.mask

    @property
    def instances(self) -> npt.NDArray[np.uint16]:
        """(H, W) uint16 region ids, 0 none."""
        return self.pictures.instances

    @property
    def segmentation(self) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
        """(H, W) uint8 or uint16 index into `class_names`."""
        return self.pictures.segmentation
