# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo to the calibration of the image that comes with it, without ROS.

Images are used as they are: distortion is followed in the projection (`vl_anomaly_ros.geometry.camera`), so nothing is
resampled and no pixel of a region is lost.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vl_anomaly_ros.decoding.encodings import MAX_SIDE_PX
from vl_anomaly_ros.decoding.payload import shown
from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.types import CameraCalibration, DoubleArray

MODELS = ("plumb_bob", "rational_polynomial", "equidistant")
_COEFFICIENTS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
_MAX_COEFFICIENTS = 14  # OpenCV's thin prism and tilt; beyond what the model uses they have to be zero
_LARGEST = 1e6
_FOCAL_SIDES = (0.05, 100.0)  # fields of view of 169 (equidistant: 1146) and 0.6 degrees
_ROTATION_SLACK = 1e-3


def decode_calibration(message: Any, rectified: bool = False) -> CameraCalibration:
    """A sensor_msgs/CameraInfo as the calibration of the image that is published with it.

    The matrices of a CameraInfo refer to the full picture of the sensor; `roi` and `binning` tell which part of it the
    image is, and K, P and the size are shifted and scaled accordingly.

    Args:
        message: the CameraInfo.
        rectified: the images are rectified (a topic such as image_rect): P takes the place of K, and there is no
            distortion. The rotation R between the two has to be none, or the transforms of TF would not fit.

    Raises:
        DataError: no size, a number that is not finite, no focal length, an unknown model, a part of the picture that
            lies outside it, or (rectified) a P that does not fit.
    """
    K = _matrix(message.k, (3, 3), "K")
    R = _matrix(message.r, (3, 3), "R")
    P = _matrix(message.p, (3, 4), "P")
    width, height = int(message.width), int(message.height)
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise DataError(
            f"CameraInfo: expected an image size of 1 to {MAX_SIDE_PX} pixels a side, got {width}x{height}; "
            "check the camera driver's calibration"
        )
    R = R if R.any() else np.eye(3)  # all zero: the driver left the field unset
    if np.abs(R).max() > 2.0 or np.abs(R @ R.T - np.eye(3)).max() > _ROTATION_SLACK or np.linalg.det(R) < 0:
        raise DataError(
            f"CameraInfo: expected a rotation in R, got {R.ravel().round(3).tolist()}; calibrate the camera"
        )
    model, D = _distortion(message)
    if rectified:
        K, D, model = _rectified(P, R), np.zeros(0), "plumb_bob"
    _check_pinhole(K, width, height, "P" if rectified else "K")
    part, binning = _part(message, width, height)
    if rectified and part != (0, 0, width, height):
        raise DataError(
            "CameraInfo: expected the full picture with rectified images, got a roi, of which nothing says whether it "
            "was rectified; use the image that is not rectified"
        )
    size = (part[2] // binning[0], part[3] // binning[1])
    if 0 in size:
        raise DataError(
            f"CameraInfo: expected binning smaller than the {part[2]}x{part[3]} pixels of the image, got "
            f"{binning[0]}x{binning[1]}; check the camera driver"
        )
    return CameraCalibration(
        width=size[0],
        height=size[1],
        K=_of_part(K, part, binning),
        frame_id=str(message.header.frame_id),
        D=D,
        distortion_model=model,
        R=R,
        P=_of_part(P, part, binning) if P.any() else None,
    )


class CalibrationDecoder:
    """`decode_calibration` of one camera, which sends the same calibration with each image: that is decoded once.

    Args:
        rectified: see `decode_calibration`.
    """

    def __init__(self, rectified: bool = False) -> None:
        self._rectified = rectified
        self._last: tuple[Any, CameraCalibration] | None = None

    def __call__(self, message: Any) -> CameraCalibration:
        """The calibration that a CameraInfo tells; the very object of the last one where all but the stamp is the same.

        Raises:
            DataError: as `decode_calibration`.
        """
        says, last = _all_but_the_stamp(message), self._last
        if last is not None and last[0] == says:
            return last[1]
        calibration = decode_calibration(message, self._rectified)
        self._last = says, calibration
        return calibration


def _all_but_the_stamp(message: Any) -> tuple[Any, ...]:
    numbers = (np.asarray(values, np.float64).tobytes() for values in (message.d, message.k, message.r, message.p))
    roi = message.roi
    return (
        *(message.header.frame_id, message.width, message.height, message.distortion_model, *numbers),
        *(message.binning_x, message.binning_y, roi.x_offset, roi.y_offset, roi.width, roi.height),
    )


def _matrix(values: Any, shape: tuple[int, int], name: str) -> DoubleArray:
    flat = np.asarray(values, np.float64).ravel()
    if flat.size != shape[0] * shape[1]:
        raise DataError(
            f"CameraInfo: expected {shape[0] * shape[1]} numbers in {name}, got {flat.size}; the message is damaged"
        )
    if not np.all(np.abs(flat) < _LARGEST):  # nor NaN
        raise DataError(
            f"CameraInfo: expected numbers below {_LARGEST:g} in {name}, got {flat.tolist()}; calibrate the camera"
        )
    return flat.reshape(shape)


def _distortion(message: Any) -> tuple[str, DoubleArray]:
    """Name of the model and its coefficients."""
    D = np.asarray(message.d, np.float64).ravel()
    model = message.distortion_model
    if not model and D.size <= _COEFFICIENTS["plumb_bob"]:  # OpenCV's own reading of so few
        model = "plumb_bob"
    if model not in MODELS:
        raise DataError(
            f"CameraInfo: expected distortion_model {', '.join(MODELS)}, got {shown(model)}; recalibrate with one of "
            "these or publish the rectified image"
        )
    if D.size > _MAX_COEFFICIENTS or not np.all(np.abs(D) < _LARGEST):
        raise DataError(
            f"CameraInfo: expected up to {_MAX_COEFFICIENTS} numbers below {_LARGEST:g} in D, got "
            f"{D[:_MAX_COEFFICIENTS].tolist()}{' and more' if D.size > _MAX_COEFFICIENTS else ''}; "
            "calibrate the camera"
        )
    if D[_COEFFICIENTS[model] :].any():
        raise DataError(
            f"CameraInfo: expected {_COEFFICIENTS[model]} coefficients of {model} in D, got {D.size} that are not "
            "zero; name the model that they belong to"
        )
    return model, D


def _rectified(P: DoubleArray, R: DoubleArray) -> DoubleArray:
    """K of rectified images. A second camera's P has its base line in the last column, which moves no ray."""
    if np.abs(R - np.eye(3)).max() > _ROTATION_SLACK:
        raise DataError(
            "CameraInfo: expected no rotation R with rectified images, got one: the frame of the image is not the "
            "optical frame in TF; use the image that is not rectified"
        )
    return np.array(P[:, :3])


def _check_pinhole(K: DoubleArray, width: int, height: int, name: str) -> None:
    """Raise `DataError` unless K is that of a camera with such a picture."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    low, high = _FOCAL_SIDES
    if not (low * width <= fx <= high * width and low * height <= fy <= high * height):
        raise DataError(
            f"CameraInfo: expected focal lengths in {name} of {low:g} to {high:g} times the {width}x{height} pixels, "
            f"got fx={fx:g}, fy={fy:g}; the camera is not calibrated"
        )
    if not (-width <= cx <= 2 * width and -height <= cy <= 2 * height):
        raise DataError(
            f"CameraInfo: expected the principal point in {name} near the {width}x{height} pixels, got cx={cx:g}, "
            f"cy={cy:g}; the camera is not calibrated"
        )
    if abs(K[0, 1]) > fx or K[1, 0] or K[2, :2].any() or K[2, 2] != 1.0:
        raise DataError(
            f"CameraInfo: expected {name} of the form [fx s cx; 0 fy cy; 0 0 1], got {K.ravel().tolist()}; "
            "the camera is not calibrated"
        )


def _part(message: Any, width: int, height: int) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """x, y, width and height of the image in the full picture, and its binning; zeros mean all of it, and none."""
    roi = message.roi
    part = (int(roi.x_offset), int(roi.y_offset), int(roi.width) or width, int(roi.height) or height)
    if part[0] + part[2] > width or part[1] + part[3] > height:
        raise DataError(
            f"CameraInfo: expected a roi within {width}x{height} pixels, got {part[2]}x{part[3]} at "
            f"({part[0]}, {part[1]}); check the camera driver"
        )
    return part, (int(message.binning_x) or 1, int(message.binning_y) or 1)


def _of_part(M: DoubleArray, part: tuple[int, int, int, int], binning: tuple[int, int]) -> DoubleArray:
    """K or P of a part of the picture, each `binning` pixels one.

    The centre of pixel i of the binned image is that of the pixels from i * b to i * b + b - 1, so u' = (u + 0.5) / b
    - 0.5.
    """
    out = np.array(M)
    for row in (0, 1):
        out[row] -= part[row] * M[2]
        out[row] = (out[row] + 0.5 * M[2]) / binning[row] - 0.5 * M[2]
    return out
