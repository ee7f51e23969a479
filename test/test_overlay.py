# SPDX-License-Identifier: Apache-2.0
"""The picture for people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vl_anomaly_ros.overlay import draw_overlay, region_text, zone_text
from vl_anomaly_ros.types import (
    AnomalyLabel,
    DepthStatus,
    Frame,
    FrameResult,
    GivenPictures,
    HazardZone,
    NameSource,
    Region,
)

H, W = 200, 400


def zone(status: DepthStatus, distance_m: float, region_id: int = 1) -> HazardZone:
    return HazardZone(
        id=region_id,
        region_id=region_id,
        status=status,
        reason="" if status is DepthStatus.MEASURED else "because",
        center_m=(distance_m, 0.0, 0.5),
        size_m=(1.0, 1.0, 1.0),
        yaw_rad=0.0,
        position_covariance=np.eye(3),
        footprint_m=np.array([[1.0, -1.0], [2.0, 0.0], [1.0, 1.0]]),
        z_range_m=(0.0, 1.0),
        distance_m=distance_m,
        point_indices=np.zeros(0, np.int64),
    )


def result(zones: tuple[HazardZone, ...]) -> FrameResult:
    frame = Frame(1, "camera", "optical", np.full((H, W, 3), 100, np.uint8), "base_link")
    instances = np.zeros((H, W), np.uint16)
    instances[80:120, 100:160] = 1
    label = AnomalyLabel("dog", NameSource.DICTIONARY, 0.8)
    region = Region(1, (100, 80, 160, 120), 2400, (129.5, 99.5), 0.93, (0.9, 0.9, 0.9), label)
    return FrameResult(
        frame=frame,
        ok=True,
        pictures=GivenPictures(instances=instances),
        regions=(region,),
        zones=zones,
        zone_frame="base_link",
    )


def test_text_says_name_probability_and_distance() -> None:
    judged = result((zone(DepthStatus.MEASURED, 12.34),))
    assert region_text(judged.regions[0], judged.zones[0]) == "dog 0.93, 12.3 m"
    assert region_text(judged.regions[0], None) == "dog 0.93, depth unknown"
    assert zone_text(zone(DepthStatus.UNKNOWN, 5.0)) == "depth unknown"
    assert zone_text(zone(DepthStatus.STALE, 5.0)) == "5.0 m stale"


def test_the_anomaly_is_marked_and_the_rest_is_left_alone() -> None:
    judged = result((zone(DepthStatus.MEASURED, 12.0),))
    picture = draw_overlay(judged)
    assert picture.shape == (H, W, 3)
    assert picture.dtype == np.uint8
    assert picture[100, 130, 0] > 130
    assert picture[100, 130, 1] < 100
    assert np.array_equal(picture[150:], judged.frame.image[150:])
    assert np.all(judged.frame.image == 100), "the frame's own image is not changed"


def test_the_nearest_zone_of_a_region_is_told() -> None:
    zones = (zone(DepthStatus.MEASURED, 12.0), zone(DepthStatus.MEASURED, 30.0))
    assert np.array_equal(draw_overlay(result(zones)), draw_overlay(result(zones[:1])))


@pytest.mark.parametrize("reason", ["", "engine failed", "a very long reason " * 20])
def test_a_frame_that_was_not_judged_gets_a_banner(reason: str) -> None:
    frame = Frame(1, "camera", "optical", np.full((H, W, 3), 100, np.uint8), "base_link")
    picture = draw_overlay(FrameResult(frame=frame, ok=False, reason=reason))
    assert np.any(picture[:40] != 100)
    assert np.all(picture[60:] == 100)


def test_lines_at_the_same_place_do_not_cover_each_other() -> None:
    one = result((zone(DepthStatus.MEASURED, 12.0),))
    region = one.regions[0]
    twin = Region(2, region.bbox, 2399, region.centroid_px, 0.5, region.sources, AnomalyLabel())
    both = FrameResult(**{**one.__dict__, "regions": (region, twin)})
    rows_of_one = np.flatnonzero(np.any(draw_overlay(one) == 24, axis=(1, 2)))
    rows_of_both = np.flatnonzero(np.any(draw_overlay(both) == 24, axis=(1, 2)))
    assert len(rows_of_both) > 1.5 * len(rows_of_one)


def test_the_tint_is_a_weighted_mean_with_red() -> None:
    judged = result((zone(DepthStatus.MEASURED, 12.0),))
    assert draw_overlay(judged)[110, 150].tolist() == [int(0.6 * 100 + 0.4 * c) for c in (255, 64, 64)]


def test_areas_beyond_the_maximum_are_told_by_their_number() -> None:
    region = Region(2, (0, 0, 9, 9), 40, (4.0, 4.0), 0.5, (0.0, 0.0, 0.0), merged=7)
    assert region_text(region, zone(DepthStatus.UNKNOWN, 0.0)) == "7 more areas 0.50, depth unknown"


def test_an_image_that_is_a_view_of_bgr_is_drawn_on_alike() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
    whole = result((zone(DepthStatus.MEASURED, 12.0),))
    pictures = [
        draw_overlay(replace(whole, frame=replace(whole.frame, image=image)))
        for image in (rgb, np.ascontiguousarray(rgb[:, :, ::-1])[:, :, ::-1])
    ]
    np.testing.assert_array_equal(pictures[0], pictures[1])
