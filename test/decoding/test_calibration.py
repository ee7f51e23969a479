# SPDX-License-Identifier: Apache-2.0
"""CameraInfo as drivers send it, with parts of the picture and binning; and as they should not."""

from __future__ import annotations

from types import SimpleNamespace as Message
from typing import Any

import cv2
import numpy as np
import pytest

from vl_anomaly_ros.decoding.calibration import CalibrationDecoder, decode_calibration
from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.geometry.camera import project

K = [500.0, 0, 320, 0, 510, 240, 0, 0, 1]
P = [480.0, 0, 310, -48, 0, 490, 230, 0, 0, 0, 1, 0]
NO_ROI = Message(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)


def info(**changes: Any) -> Message:
    values: dict[str, Any] = {
        "header": Message(stamp=Message(sec=2, nanosec=5), frame_id="camera"),
        "width": 640, "height": 480, "k": K, "d": [0.1, 0.2], "r": [0.0] * 9, "p": [0.0] * 12,
        "distortion_model": "", "binning_x": 0, "binning_y": 0, "roi": NO_ROI,
    }  # fmt: skip
    return Message(**{**values, **changes})


def roi(x: int, y: int, width: int, height: int) -> Message:
    return Message(x_offset=x, y_offset=y, width=width, height=height, do_rectify=False)


def test_a_calibration_without_rectification() -> None:
    calibration = decode_calibration(info())
    assert calibration.K.ravel().tolist() == K
    assert calibration.R.tolist() == np.eye(3).tolist()
    assert calibration.P is None
    assert (calibration.distortion_model, calibration.D.tolist()) == ("plumb_bob", [0.1, 0.2])
    assert (calibration.width, calibration.height, calibration.frame_id) == (640, 480, "camera")


def test_a_part_of_the_picture_shifts_the_principal_point() -> None:
    calibration = decode_calibration(info(roi=roi(100, 40, 320, 200), p=P))
    assert (calibration.width, calibration.height) == (320, 200)
    assert calibration.K.ravel().tolist() == [500, 0, 220, 0, 510, 200, 0, 0, 1]
    assert calibration.P is not None
    assert calibration.P.ravel().tolist() == [480, 0, 210, -48, 0, 490, 190, 0, 0, 0, 1, 0]


def test_binned_pixels_lie_where_their_parts_did() -> None:
    """A point at the middle of the four pixels 10 and 11 in both directions is at the centre of binned pixel 5."""
    point = np.array([[(10.5 - 320) / 500, (10.5 - 240) / 510, 1.0]])
    calibration = decode_calibration(info(binning_x=2, binning_y=2, d=[]))
    assert (calibration.width, calibration.height) == (320, 240)
    pixel, seen = project(calibration, point)
    assert seen.all()
    assert pixel.round(9).tolist() == [[5.0, 5.0]]


def test_part_and_binning_agree_with_the_picture_that_they_make() -> None:
    """A picture with a bright spot, cut and binned: the spot is where the calibration says."""
    point = np.array([[0.1, 0.05, 1.0]])
    whole = decode_calibration(info(d=[]))
    spot = project(whole, point)[0][0]
    y, x = np.mgrid[:480, :640]
    picture = np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / 50)
    cut = cv2.resize(picture[40:440, 100:580], None, fx=1 / 4, fy=1 / 2, interpolation=cv2.INTER_AREA)
    calibration = decode_calibration(info(d=[], roi=roi(100, 40, 480, 400), binning_x=4, binning_y=2))
    assert (calibration.height, calibration.width) == cut.shape
    v, u = np.mgrid[: cut.shape[0], : cut.shape[1]]
    seen = [float((u * cut).sum() / cut.sum()), float((v * cut).sum() / cut.sum())]
    np.testing.assert_allclose(project(calibration, point)[0][0], seen, atol=1e-3)


def test_rectified_images_are_those_of_p() -> None:
    calibration = decode_calibration(info(p=P, d=[-0.3, 0.1, 0, 0, 0], distortion_model="plumb_bob"), rectified=True)
    assert calibration.K.ravel().tolist() == [480, 0, 310, 0, 490, 230, 0, 0, 1]
    assert not calibration.D.any()


TURNED = cv2.Rodrigues(np.array([0.0, 0.05, 0.0]))[0].ravel()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "expected focal lengths in P"),
        ({"p": P, "r": TURNED}, "no rotation R with rectified images"),
        ({"p": P, "roi": roi(10, 0, 600, 480)}, "full picture with rectified images, got a roi"),
    ],
)
def test_rectified_images_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode_calibration(info(**changes), rectified=True)


@pytest.mark.parametrize(
    ("model", "d"),
    [("plumb_bob", [0.1] * 5), ("plumb_bob", []), ("rational_polynomial", [0.1] * 8), ("equidistant", [0.1] * 4),
     ("rational_polynomial", [0.1] * 8 + [0.0] * 6), ("", [0.0] * 5)],
)  # fmt: skip
def test_models_that_are_known(model: str, d: list[float]) -> None:
    calibration = decode_calibration(info(distortion_model=model, d=d))
    assert calibration.D.tolist() == d
    assert calibration.distortion_model == (model or "plumb_bob")


def changed(values: list[float], at: int, value: float) -> list[float]:
    return [*values[:at], value, *values[at + 1 :]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": [0.0] * 9}, "expected focal lengths in K of 0.05 .* got fx=0, fy=0; the camera is not calibrated"),
        ({"k": changed(K, 0, -500.0)}, "got fx=-500"),
        ({"k": changed(K, 0, 1e5)}, "of 0.05 to 100 times the 640x480 pixels, got fx=100000"),
        ({"k": changed(K, 0, np.nan)}, "expected numbers below 1e.06 in K, got .nan"),
        ({"k": K[:8]}, "expected 9 numbers in K, got 8"),
        ({"k": changed(K, 2, 5000.0)}, "principal point in K near the 640x480 pixels, got cx=5000"),
        ({"k": changed(K, 8, 0.0)}, "of the form"),
        ({"k": changed(K, 6, 0.5)}, "of the form"),
        ({"d": [0.1, np.nan]}, "numbers below 1e.06 in D, got .0.1, nan"),
        ({"d": [0.0] * 1000, "distortion_model": "plumb_bob"}, "up to 14 numbers below 1e.06 in D, got .* and more"),
        ({"d": [0.1] * 8, "distortion_model": "plumb_bob"}, "expected 5 coefficients of plumb_bob in D, got 8"),
        ({"d": [0.1] * 8}, "expected distortion_model plumb_bob, .*got ''"),
        ({"distortion_model": "magic"}, "got 'magic'; recalibrate"),
        ({"r": changed([0.0] * 9, 4, np.inf)}, "in R"),
        ({"r": [1.0] * 9}, "expected a rotation in R"),
        ({"r": [1e5] * 9}, "expected a rotation in R"),
        ({"r": [-1.0, 0, 0, 0, 1, 0, 0, 0, 1]}, "expected a rotation in R"),
        ({"p": changed(P, 3, np.nan)}, "in P"),
        ({"width": 0}, "image size of 1 to 16384 pixels a side, got 0x480"),
        ({"height": 2**32 - 1}, "got 640x4294967295"),
        ({"roi": roi(600, 0, 100, 480)}, "roi within 640x480 pixels, got 100x480 at .600, 0."),
        ({"binning_x": 1000}, "binning smaller than the 640x480 pixels of the image, got 1000x1"),
    ],
)
def test_calibrations_that_cannot_be_used_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode_calibration(info(**changes))


def test_a_calibration_that_comes_again_is_not_decoded_again() -> None:
    decoder = CalibrationDecoder()
    first = decoder(info())
    assert decoder(info(header=Message(stamp=Message(sec=3, nanosec=0), frame_id="camera"))) is first


@pytest.mark.parametrize(
    "changes",
    [
        {"header": Message(stamp=Message(sec=2, nanosec=5), frame_id="other")},
        {"width": 1280},
        {"height": 960},
        {"k": [501.0, *K[1:]]},
        {"d": [0.1, 0.3]},
        {"r": [1.0, 0, 0, 0, 1, 0, 0, 0, 1]},
        {"p": P},
        {"distortion_model": "rational_polynomial"},
        {"binning_x": 2},
        {"binning_y": 2},
        {"roi": roi(8, 0, 320, 240)},
        {"roi": roi(0, 8, 320, 240)},
        {"roi": roi(0, 0, 320, 240)},
        {"roi": roi(0, 0, 320, 480)},
    ],
)
def test_any_change_of_a_calibration_counts(changes: dict[str, Any]) -> None:
    decoder = CalibrationDecoder()
    decoder(info())
    changed, alone = decoder(info(**changes)), decode_calibration(info(**changes))
    for name in ("width", "height", "frame_id", "distortion_model"):
        assert getattr(changed, name) == getattr(alone, name)
    for name in ("K", "D", "R", "P"):
        assert np.array_equal(getattr(changed, name), getattr(alone, name))
    assert decoder(info()).K.ravel().tolist() == K


def test_what_is_refused_is_refused_again_and_spoils_nothing() -> None:
    decoder = CalibrationDecoder()
    first = decoder(info())
    for _ in range(2):
        with pytest.raises(DataError, match="distortion_model"):
            decoder(info(distortion_model="fov"))
    assert decoder(info()) is first
