# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
from road_world import CAMERA_HEIGHT_M, FOCAL, HEIGHT, T_BASE_CAMERA, WIDTH, K, region_at

from vl_anomaly_ros.geometry.boxes import distance_to_polygon, signed_area
from vl_anomaly_ros.geometry.ground import prior_ground
from vl_anomaly_ros.geometry.sights import ground_ranges, sights_of
from vl_anomaly_ros.geometry.wedge import PITCH_MARGIN_RAD, wedge_zones
from vl_anomaly_ros.types import CameraCalibration, DepthStatus, HazardZone

CALIBRATION = CameraCalibration(WIDTH, HEIGHT, K, "optical")


def wedge(bbox: tuple[int, int, int, int], calibration: CameraCalibration | None = CALIBRATION) -> HazardZone:
    sights = sights_of([region_at(bbox)], calibration, T_BASE_CAMERA[:3, 3], T_BASE_CAMERA[:3, :3])
    return wedge_zones(sights, prior_ground(), 80.0, [1], ["no cloud"])[0]


def test_foot_of_the_region_on_level_ground_by_hand() -> None:
    # Lowest edge at v = 239.5: 60 px below the horizon, so 400 / 60 * 1.5 m = 10 m ahead of the camera.
    regions = [region_at((310, 200, 330, 240)), region_at((310, 100, 330, 140)), region_at((0, 200, 9, 200 + 10))]
    sights = sights_of(regions, CALIBRATION, T_BASE_CAMERA[:3, 3], T_BASE_CAMERA[:3, :3])
    distance, meets = ground_ranges(sights, prior_ground(), 80.0)
    assert meets.tolist() == [True, False, True]
    assert distance[0] == pytest.approx(FOCAL / 60 * CAMERA_HEIGHT_M, rel=0.005)
    assert distance[1] == 80.0
    assert distance[0] <= FOCAL / 60 * CAMERA_HEIGHT_M, "rather too near than too far"


def test_wedge_spans_the_bearing_of_the_box_and_starts_at_its_foot() -> None:
    zone = wedge((360, 200, 400, 240))
    bearing = np.arctan2(zone.footprint_m[:, 1], zone.footprint_m[:, 0] - 1.0)
    # u = 359.5 and 399.5: tan = -0.1 and -0.2 (right of the axis is negative)
    assert math.tan(bearing.max()) == pytest.approx(-0.1, abs=0.01)
    assert math.tan(bearing.min()) == pytest.approx(-0.2, abs=0.01)
    depression = math.atan(60 / FOCAL) + PITCH_MARGIN_RAD
    assert zone.distance_m == pytest.approx(1.0 + CAMERA_HEIGHT_M / math.tan(depression), abs=0.4)
    assert np.hypot(zone.footprint_m[:, 0] - 1, zone.footprint_m[:, 1]).max() == pytest.approx(80, abs=0.1)
    assert zone.status is DepthStatus.UNKNOWN
    assert signed_area(zone.footprint_m) > 0


@pytest.mark.parametrize(
    ("bbox", "why"),
    [
        ((310, 20, 330, 100), "above the horizon: it may hang anywhere"),
        ((310, 200, 330, HEIGHT), "cut off below: its foot is out of sight"),
        ((0, 0, WIDTH, HEIGHT), "the whole image"),
    ],
)
def test_begins_at_the_camera_where_the_foot_is_not_seen(bbox: tuple[int, int, int, int], why: str) -> None:
    assert wedge(bbox).distance_m < 1.01, why


def test_a_region_without_pixels_still_has_an_area() -> None:
    zone = wedge((100, 250, 100, 250))
    assert signed_area(zone.footprint_m) > 0
    assert min(zone.size_m) > 0


def test_without_calibration_everything_ahead() -> None:
    zone = wedge((310, 200, 330, 240), None)
    for direction in (-80, 0, 80):
        point = np.array([1 + 20 * math.cos(math.radians(direction)), 20 * math.sin(math.radians(direction))])
        assert distance_to_polygon(zone.footprint_m, point) == 0


@pytest.mark.parametrize("bbox", [(310, 200, 330, 240), (0, 0, 5, 5), (600, 300, 640, 360)])
def test_box_holds_the_footprint(bbox: tuple[int, int, int, int]) -> None:
    zone = wedge(bbox)
    c, s = math.cos(zone.yaw_rad), math.sin(zone.yaw_rad)
    own = (zone.footprint_m - zone.center_m[:2]) @ np.array([[c, -s], [s, c]])
    assert np.all(np.abs(own) <= np.array(zone.size_m[:2]) / 2 + 1e-6)
    assert -math.pi / 2 < zone.yaw_rad <= math.pi / 2
    assert np.all(np.linalg.eigvalsh(zone.position_covariance) > 0)
