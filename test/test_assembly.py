# SPDX-License-Identifier: Apache-2.0
"""Which transforms go into a frame, and what is said when one is absent."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from vl_anomaly_ros.assembly import assemble_frame, at_rest
from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.types import CameraCalibration, DoubleArray, Frame, PointCloud

IMAGE = np.zeros((20, 30, 3), np.uint8)
IMAGE_NS, CLOUD_NS = 2_000_000_000, 1_900_000_000
MPS = 10.0


def shifted(x: float) -> DoubleArray:
    T = np.eye(4)
    T[0, 3] = x
    return T


@dataclass
class Straight:
    """Frames along one line: odom at rest, the vehicle at 10 m/s, camera and LiDAR ahead of it; `noise` on all."""

    ahead_m: dict[str, float] = field(default_factory=lambda: {"base_link": 0.0, "camera": 2.0, "lidar": 1.0})
    noise: float = 0.0
    fixed: bool = True

    def has_frame(self, frame: str) -> bool:
        return frame in self.ahead_m or (frame == "odom" and self.fixed)

    def _x(self, frame: str, stamp_ns: int) -> float:
        if not self.has_frame(frame):
            raise GeometryError(f"no transform: frame {frame!r} is unknown")
        return 0.0 if frame == "odom" else stamp_ns * 1e-9 * MPS + self.ahead_m[frame]

    def lookup(self, target: str, source: str, stamp_ns: int) -> DoubleArray:
        try:
            return shifted(self._x(source, stamp_ns) - self._x(target, stamp_ns) + self.noise)
        except GeometryError as error:
            raise GeometryError(f"{source} -> {target}: {error}") from error


def assemble(transforms: Straight, cloud_ns: int = CLOUD_NS, calibration_width: int = 30, **settings: object) -> Frame:
    K = np.array([[20.0, 0, 15], [0, 20, 10], [0, 0, 1]])
    return assemble_frame(
        image=IMAGE, stamp_ns=IMAGE_NS, camera="camera", frame_id="camera", config=with_values(Config(), settings),
        transforms=transforms, calibration=CameraCalibration(calibration_width, 20, K, "camera"),
        points=PointCloud(np.zeros((1, 3), np.float32), cloud_ns, "lidar"), missing=["no coffee"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cloud_ns", "fixed", "x_m"),
    [
        (CLOUD_NS, True, -1.0 - MPS * 0.1),  # the vehicle has driven 1 m on since the cloud
        (IMAGE_NS, True, -1.0),
        (CLOUD_NS, False, -1.0),  # odom is not in TF: not compensated
    ],
    ids=["ego motion", "same stamp", "no fixed frame"],
)
def test_points_at_the_stamp_of_the_image(cloud_ns: int, fixed: bool, x_m: float) -> None:
    frame = assemble(Straight(fixed=fixed), cloud_ns)
    assert frame.T_camera_points is not None
    assert frame.T_camera_points[0, 3] == pytest.approx(x_m)
    assert frame.missing == ("no coffee",)
    assert frame.points_age_s == pytest.approx((IMAGE_NS - cloud_ns) * 1e-9)


def test_the_fixed_frame_can_be_switched_off() -> None:
    frame = assemble(Straight(), CLOUD_NS, 30, **{"frames.fixed_frame": ""})
    assert frame.T_camera_points is not None
    assert frame.T_camera_points[0, 3] == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("absent", "clauses", "none"),
    [
        ("lidar", 1, ["T_camera_points"]),
        ("camera", 2, ["T_camera_points", "T_output_camera"]),
        ("base_link", 1, ["T_output_camera"]),
    ],
)
def test_what_tf_does_not_know_is_none_and_named(absent: str, clauses: int, none: list[str]) -> None:
    transforms = Straight()
    del transforms.ahead_m[absent]
    frame = assemble(transforms)
    assert [name for name in ("T_camera_points", "T_output_camera") if getattr(frame, name) is None] == none
    assert len([m for m in frame.missing if absent in m]) == clauses


def test_another_ego_frame() -> None:
    frame = assemble(Straight(), CLOUD_NS, 30, **{"frames.ego_frame": "lidar"})
    assert frame.T_output_ego is not None
    assert frame.T_output_ego[0, 3] == pytest.approx(1.0)
    assert assemble(Straight()).T_output_ego is None


def test_a_calibration_of_another_picture_is_left_out() -> None:
    frame = assemble(Straight(), calibration_width=60)
    assert frame.calibration is None
    assert "the camera info is for 60x20, the image is 30x20" in frame.missing


def test_the_last_bits_of_tf_do_not_count() -> None:
    """So that tf2 and the offline buffer give the same frame, bit for bit."""
    one, two = assemble(Straight()), assemble(Straight(noise=3e-13))
    for name in ("T_camera_points", "T_output_camera"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"frame_id": ""}, "header.frame_id is empty"),
        ({"stamp_ns": 0}, "a message is not stamped"),
        ({"stamp_ns": -1}, "a message is not stamped"),
    ],
)
def test_without_a_name_or_a_stamp_nothing_is_placed(names: dict[str, object], words: str) -> None:
    arguments = {"stamp_ns": IMAGE_NS, "frame_id": "camera", **names}
    frame = assemble_frame(image=IMAGE, camera="camera", config=Config(), transforms=Straight(), **arguments)  # type: ignore[arg-type]
    assert frame.T_output_camera is None
    (clause,) = frame.missing
    assert words in clause


def test_a_leading_slash_does_not_matter() -> None:
    frame = assemble_frame(
        image=IMAGE, stamp_ns=IMAGE_NS, camera="camera", frame_id="/camera", transforms=Straight(),
        config=with_values(Config(), {"frames.fixed_frame": "/odom", "frames.output_frame": "/base_link"}),
        points=PointCloud(np.zeros((1, 3), np.float32), CLOUD_NS, "/lidar"),
    )  # fmt: skip
    assert frame.missing == ()
    assert frame.frame_id == "camera"
    assert frame.T_camera_points is not None
    assert frame.T_camera_points[0, 3] == pytest.approx(-1.0 - MPS * 0.1)


def swept(notes: tuple[str, ...] = (), last_ns: int = 100_000_000) -> PointCloud:
    xyz = np.array([[5, 0, 0], [5, 0, 0]], np.float32)
    return PointCloud(xyz, CLOUD_NS, "lidar", np.array([0, last_ns]), notes)


@pytest.mark.parametrize(
    ("settings", "fixed", "x_m"),
    [
        ({}, True, [5.0, 6.0]),
        ({"fusion.deskew": False}, True, [5.0, 5.0]),
        ({"frames.fixed_frame": ""}, True, [5.0, 5.0]),
        ({}, False, [5.0, 5.0]),
    ],
    ids=["taken out", "not wanted", "no fixed frame wanted", "no fixed frame in TF"],
)
def test_the_motion_within_a_sweep(settings: dict[str, object], fixed: bool, x_m: list[float]) -> None:
    """At 10 m/s, what is 5 m ahead of the sensor after 0.1 s was 6 m ahead of where it began."""
    points, clauses = at_rest(swept(), with_values(Config(), settings), Straight(fixed=fixed))
    assert points.xyz[:, 0].tolist() == pytest.approx(x_m, abs=1e-3)
    assert clauses == []


def test_what_cannot_be_done_about_a_sweep_is_said() -> None:
    long = swept(("the times are strange",), 2_000_000_000)
    points, clauses = at_rest(long, Config(), Straight())
    assert points is long
    assert clauses[0] == "the times are strange"
    assert clauses[1].startswith("motion within the sweep is not taken out: ")
    transforms = Straight()
    del transforms.ahead_m["lidar"]
    _, (clause,) = at_rest(swept(), Config(), transforms)
    assert "lidar" in clause


def test_the_last_bits_of_tf_do_not_count_within_a_sweep_either() -> None:
    one, two = (at_rest(swept(), Config(), Straight(noise=noise))[0] for noise in (0.0, 3e-13))
    assert one.xyz.tobytes() == two.xyz.tobytes()
