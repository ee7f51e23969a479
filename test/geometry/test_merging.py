# SPDX-License-Identifier: Apache-2.0
"""One thing that several cameras see is one zone; two things are two."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from road_world import T_BASE_CAMERA, Thing, World

from vl_anomaly_ros.config import FusionConfig
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.evaluation.judging import region_of
from vl_anomaly_ros.geometry.boxes import distance_to_polygon, signed_area
from vl_anomaly_ros.geometry.merging import SeenZone, View, carried, merge, seen_zones
from vl_anomaly_ros.geometry.transforms import apply, inverse, matrix_from
from vl_anomaly_ros.geometry.zones import fuse
from vl_anomaly_ros.types import AnomalyLabel, DepthStatus, DoubleArray, Frame, FrameResult, HazardZone, NameSource

CONFIG, EGO, STILL = FusionConfig(), np.zeros(2), np.eye(4)
STAMP_NS = 1_000_000_000
WALL = Thing(30, 0, 0.5, 60, 5.0)
CRATE = Thing(12, 0, 1.0, 1.2, 0.9)
PAIR = [Thing(10, 0.4, 0.35, 0.45, 1.8), Thing(10, -0.4, 0.35, 0.45, 1.8)]
"""Two people 0.8 m apart, 0.35 m between them."""


def turned(yaw_rad: float, x: float = 0.0, y: float = 0.0) -> DoubleArray:
    return matrix_from(np.array([x, y, 0.0]), np.array([0, 0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)]))


@functools.cache
def sensed(things: tuple[Thing, ...], yaw_rad: float, left_m: float) -> tuple[Frame, npt.NDArray[np.uint16]]:
    """A frame of a camera, and what each of its pixels shows."""
    world = World([*things, WALL], noise_m=0.01, T_base_camera=turned(yaw_rad, y=left_m) @ T_BASE_CAMERA)
    return world.frame(), world.picture()


def judged(
    camera: str,
    things: Sequence[Thing],
    see: Sequence[int],
    *,
    yaw_rad: float = 0.0,
    left_m: float = 0.0,
    config: FusionConfig = CONFIG,
    cloud_ns: int = STAMP_NS,
    label: AnomalyLabel | None = None,
) -> FrameResult:
    """What a camera, turned and shifted from the middle of the vehicle, says of the things with these numbers."""
    frame, picture = sensed(tuple(things), yaw_rad, left_m)
    assert frame.points is not None
    frame = replace(frame, camera=camera, points=replace(frame.points, stamp_ns=cloud_ns))
    regions = [replace(region_of(picture == number, number), label=label or AnomalyLabel()) for number in see]
    fused = fuse(frame, regions, picture, config)
    return FrameResult(frame, True, regions=tuple(regions), zones=fused.zones, zone_frame=fused.zone_frame)


def view(result: FrameResult, T_now_then: DoubleArray = STILL) -> View:
    cloud = result.frame.points
    return View(result.frame.camera, seen_zones(result), None if cloud is None else cloud.stamp_ns, T_now_then)


def holds(zone: HazardZone, xy: DoubleArray) -> bool:
    return all(distance_to_polygon(zone.footprint_m, point) < 1e-3 for point in xy)


def assert_sound(seen: SeenZone) -> None:
    zone = seen.zone
    assert signed_area(zone.footprint_m) > 0
    assert np.all(np.linalg.eigvalsh(zone.position_covariance) > 0)
    assert zone.num_points == len(seen.xyz)
    assert holds(zone, seen.xyz[:, :2].astype(np.float64))
    assert zone.region_id == seen.region.id
    assert zone.distance_m == pytest.approx(distance_to_polygon(zone.footprint_m, EGO))
    assert (zone.reason == "") == (zone.status is DepthStatus.MEASURED)


def test_one_crate_in_two_pictures_is_one_zone() -> None:
    left = judged("left", [CRATE], [1], yaw_rad=0.25, left_m=0.5)
    right = judged("right", [CRATE], [1], yaw_rad=-0.25, left_m=-0.5)
    (one,) = merge([view(left), view(right)], EGO, CONFIG)
    assert_sound(one)
    assert (one.zone.status, one.cameras, one.zone.id) == (DepthStatus.MEASURED, ("left", "right"), 1)
    points = set(left.zones[0].point_indices) | set(right.zones[0].point_indices)
    assert set(one.zone.point_indices) == points
    assert left.frame.points is not None
    assert np.allclose(one.xyz, left.frame.points.xyz[one.zone.point_indices], atol=1e-5)
    assert one.zone.distance_m == pytest.approx(11.5, abs=0.1)
    assert one.zone.center_m == pytest.approx(left.zones[0].center_m, abs=0.1)
    assert one.zone.position_covariance == pytest.approx(left.zones[0].position_covariance, abs=0.01)


@pytest.mark.parametrize("other_cloud_ns", [STAMP_NS, STAMP_NS + 50_000_000], ids=["one cloud", "two clouds"])
def test_two_people_side_by_side_seen_by_one_camera_each_stay_two(other_cloud_ns: int) -> None:
    a, b = judged("a", PAIR, [1], left_m=0.3), judged("b", PAIR, [2], left_m=-0.3, cloud_ns=other_cloud_ns)
    zones = merge([view(a), view(b)], EGO, CONFIG)
    assert [seen.cameras for seen in zones] == [("a",), ("b",)]
    assert [seen.zone.id for seen in zones] == [1, 2]


@pytest.mark.parametrize("other_cloud_ns", [STAMP_NS, STAMP_NS + 50_000_000], ids=["one cloud", "two clouds"])
def test_two_people_side_by_side_seen_by_both_cameras_are_two(other_cloud_ns: int) -> None:
    a, b = judged("a", PAIR, [1, 2], left_m=0.3), judged("b", PAIR, [2, 1], left_m=-0.3, cloud_ns=other_cloud_ns)
    zones = merge([view(a), view(b)], EGO, CONFIG)
    assert [seen.cameras for seen in zones] == [("a", "b"), ("a", "b")]
    assert [seen.zone.center_m[1] for seen in zones] == pytest.approx([0.4, -0.4], abs=0.1)


def test_clouds_of_two_moments_meet_where_the_thing_is_now() -> None:
    """The vehicle drives 1.5 m and turns between the two images: the crate is where the newer one sees it."""
    forward = turned(0.06, 1.5, 0.2)  # base_link now, in base_link then
    T_now_then = inverse(forward)
    x, y, _ = apply(T_now_then, np.array([[CRATE.x, CRATE.y, 0.0]]))[0]
    old = judged("old", [CRATE], [1])
    new = judged("new", [replace(CRATE, x=x, y=y)], [1], cloud_ns=STAMP_NS + 100_000_000)
    (one,) = merge([view(old, T_now_then), view(new)], EGO, CONFIG)
    assert_sound(one)
    assert one.cameras == ("new", "old")
    assert one.zone.center_m == pytest.approx(new.zones[0].center_m, abs=0.1)
    assert one.zone.num_points == old.zones[0].num_points + new.zones[0].num_points
    assert np.sum(one.zone.point_indices >= 0) == new.zones[0].num_points
    assert len(merge([view(old), view(new)], EGO, CONFIG)) == 2, "without the motion they are 1.5 m apart"


def test_a_truck_that_each_camera_sees_in_part() -> None:
    truck = Thing(16, 0, 2.5, 14.0, 3.0)
    left, right = judged("left", [truck], [1], yaw_rad=0.35), judged("right", [truck], [1], yaw_rad=-0.35)
    (one,) = merge([view(left), view(right)], EGO, CONFIG)
    assert one.zone.size_m[0] > max(left.zones[0].size_m[0], right.zones[0].size_m[0]) + 1
    assert one.zone.size_m[0] == pytest.approx(14.0, abs=0.4)


def test_what_hangs_above_is_another_thing() -> None:
    below, above = Thing(12, 0, 1.0, 1.0, 0.6), Thing(12, 0, 1.0, 1.0, 0.6, lift=1.3)
    a = judged("a", [below, above], [1])
    b = judged("b", [below, above], [2], cloud_ns=STAMP_NS + 1)
    assert len(merge([view(a), view(b)], EGO, CONFIG)) == 2


def test_zones_of_one_camera_are_never_merged() -> None:
    (whole,) = seen_zones(judged("a", [CRATE], [1]))
    again = whole._replace(zone=replace(whole.zone, id=2))
    other = seen_zones(judged("b", [CRATE], [1], left_m=0.3))
    zones = merge([View("a", (whole, again), STAMP_NS, STILL), View("b", other, STAMP_NS, STILL)], EGO, CONFIG)
    assert sorted(seen.cameras for seen in zones) == [("a",), ("a", "b")]


def test_three_cameras() -> None:
    views = [view(judged(name, [CRATE, *PAIR], [1, 2, 3], left_m=y)) for name, y in zip("abc", (0.4, 0, -0.4))]
    assert [seen.cameras for seen in merge(views, EGO, CONFIG)] == [("a", "b", "c")] * 3


BLIND = FusionConfig(enabled=False)


def test_wedges_of_one_thing_become_one_that_holds_both() -> None:
    a, b = (judged(name, [CRATE], [1], left_m=y, config=BLIND) for name, y in (("a", 0.1), ("b", -0.1)))
    (one,) = merge([view(a), view(b)], EGO, CONFIG)
    assert_sound(one)
    assert (one.zone.status, one.zone.num_points) == (DepthStatus.UNKNOWN, 0)
    assert one.zone.reason == "LiDAR fusion is switched off"
    for zone in (a.zones[0], b.zones[0]):
        assert holds(one.zone, zone.footprint_m)
        assert one.zone.z_range_m[0] <= zone.z_range_m[0] <= zone.z_range_m[1] <= one.zone.z_range_m[1]
        widest, was = (np.linalg.eigvalsh(z.position_covariance)[-1] for z in (one.zone, zone))
        assert widest > 0.9 * was, "anywhere in it alike: no surer than either"


def test_wedges_of_two_directions_stay_two() -> None:
    things = [Thing(14, 2.0, 0.5, 0.5, 1.0), Thing(14, -2.0, 0.5, 0.5, 1.0)]
    a, b = judged("a", things, [1], config=BLIND), judged("b", things, [2], config=BLIND)
    assert len(merge([view(a), view(b)], EGO, CONFIG)) == 2


def test_a_wedge_that_is_all_that_is_ahead_swallows_nothing() -> None:
    blind = judged("a", [CRATE], [1])
    uncalibrated = replace(blind.frame, calibration=None)
    zones = fuse(uncalibrated, blind.regions, np.zeros(uncalibrated.image.shape[:2], np.uint16), CONFIG).zones
    all_ahead = replace(blind, frame=uncalibrated, zones=zones)
    wedge = judged("b", [CRATE], [1], config=BLIND)
    assert holds(zones[0], wedge.zones[0].footprint_m[:1])
    assert len(merge([view(all_ahead), view(wedge)], EGO, CONFIG)) == 2


def test_measured_and_unknown_stay_two() -> None:
    a, b = judged("a", [CRATE], [1]), judged("b", [CRATE], [1], config=BLIND)
    zones = merge([view(a), view(b)], EGO, CONFIG)
    assert [seen.zone.status for seen in zones] == [DepthStatus.MEASURED, DepthStatus.UNKNOWN]


def test_the_better_status_and_its_reason_win() -> None:
    strict = FusionConfig(min_points=100_000)
    sure, few = judged("sure", [CRATE], [1]), judged("few", [CRATE], [1], config=strict)
    (one,) = merge([view(sure), view(few)], EGO, CONFIG)
    assert_sound(one)
    assert one.zone.status is DepthStatus.MEASURED
    (sparse,) = merge([view(few), view(judged("less", [CRATE], [1], left_m=0.3, config=strict))], EGO, CONFIG)
    assert_sound(sparse)
    assert sparse.zone.status is DepthStatus.SPARSE
    assert holds(sparse.zone, few.zones[0].footprint_m), "what was seen beyond the few points stays enclosed"


def test_stale_stays_as_unsure_as_it_was() -> None:
    old = STAMP_NS - 400_000_000
    a, b = judged("a", [CRATE], [1], cloud_ns=old), judged("b", [CRATE], [1], left_m=0.3, cloud_ns=old)
    (one,) = merge([view(a), view(b)], EGO, CONFIG)
    assert_sound(one)
    assert one.zone.status is DepthStatus.STALE
    assert one.zone.reason == "the point cloud is 0.40 s old"
    assert np.linalg.eigvalsh(one.zone.position_covariance[:2, :2])[0] >= (5.0 * 0.4) ** 2


@pytest.mark.parametrize(
    ("label_a", "label_b", "first"),
    [
        (AnomalyLabel(), AnomalyLabel("crate", NameSource.DICTIONARY, 0.2), "b"),
        (AnomalyLabel("box", NameSource.DICTIONARY, 0.6), AnomalyLabel("crate", NameSource.DICTIONARY, 0.2), "a"),
        (AnomalyLabel(), AnomalyLabel(), "a"),
    ],
    ids=["one has a name", "the surer name", "no names"],
)
def test_the_camera_that_knows_it_best_comes_first(label_a: AnomalyLabel, label_b: AnomalyLabel, first: str) -> None:
    a, b = judged("a", [CRATE], [1], label=label_a), judged("b", [CRATE], [1], left_m=0.3, label=label_b)
    (one,) = merge([view(a), view(b)], EGO, CONFIG)
    assert one.cameras[0] == first
    assert one.region is (a if first == "a" else b).regions[0]


def test_order_of_the_views_does_not_matter() -> None:
    things = [CRATE, *PAIR]
    views = [view(judged(name, things, see)) for name, see in (("a", [1, 2]), ("b", [3, 1]), ("c", [2, 3]))]
    ways = [merge(order, EGO, CONFIG) for order in itertools.permutations(views)]
    assert len(ways[0]) == 3
    for way in ways[1:]:
        for one, other in zip(ways[0], way):
            assert (one.zone.id, one.cameras, one.zone.center_m) == (other.zone.id, other.cameras, other.zone.center_m)
            assert np.array_equal(one.xyz, other.xyz)


def test_one_view_that_did_not_move_is_left_as_it_is() -> None:
    result = judged("a", [CRATE, *PAIR], [1, 2, 3])
    zones = merge([view(result)], EGO, CONFIG)
    assert all(seen.zone is zone for seen, zone in zip(zones, result.zones))
    assert [seen.region for seen in zones] == list(result.regions)
    assert merge([], EGO, CONFIG) == ()


def test_nothing_that_any_camera_sees_is_lost() -> None:
    rng = np.random.default_rng(5)
    for _ in range(4):
        things = [Thing(*rng.uniform((6, -3), (20, 3)).tolist(), *rng.uniform(0.3, 2.0, 3).tolist()) for _ in range(5)]
        views = []
        for name in "abc":
            yaw = float(rng.uniform(-0.3, 0.3))
            _, picture = sensed(tuple(things), yaw, 0.0)
            see = [number for number in range(1, 6) if np.sum(picture == number) > 50]
            config = BLIND if rng.random() < 0.2 else CONFIG
            cloud_ns = STAMP_NS + int(rng.integers(2))
            views.append(view(judged(name, things, see, yaw_rad=yaw, config=config, cloud_ns=cloud_ns)))
        merged = merge(views, EGO, CONFIG)
        assert [seen.zone.id for seen in merged] == list(range(1, len(merged) + 1))
        assert len(merged) >= max(len(one.seen) for one in views)
        for one in views:
            mine = [seen.zone for seen in merged if one.camera in seen.cameras]
            assert len(mine) == len(one.seen), "each zone of a camera is in exactly one zone of the whole"
            for seen in one.seen:
                inside = seen.xyz[:, :2].astype(np.float64) if len(seen.xyz) else seen.zone.footprint_m
                assert any(holds(zone, inside) and zone.status <= seen.zone.status for zone in mine)
        for seen in merged:
            assert_sound(seen)


def test_carried_is_a_rigid_motion() -> None:
    zone = judged("a", [CRATE], [1]).zones[0]
    T = turned(0.4, 3.0, -1.0)
    T[2, 3] = 0.25
    moved = carried(zone, T, np.array([2.0, 1.0]))
    cos, sin = math.cos(0.4), math.sin(0.4)
    x, y, z = zone.center_m
    assert moved.center_m == pytest.approx((cos * x - sin * y + 3, sin * x + cos * y - 1, z + 0.25))
    assert moved.size_m == pytest.approx(zone.size_m)
    assert math.remainder(moved.yaw_rad - zone.yaw_rad - 0.4, math.pi) == pytest.approx(0)
    assert moved.z_range_m == pytest.approx((zone.z_range_m[0] + 0.25, zone.z_range_m[1] + 0.25))
    assert signed_area(moved.footprint_m) == pytest.approx(signed_area(zone.footprint_m))
    assert moved.distance_m == pytest.approx(distance_to_polygon(moved.footprint_m, np.array([2.0, 1.0])))
    before, after = zone.position_covariance, moved.position_covariance
    assert np.linalg.eigvalsh(after) == pytest.approx(np.linalg.eigvalsh(before))
    back = carried(moved, inverse(T))
    assert back.footprint_m == pytest.approx(zone.footprint_m)
    assert back.position_covariance == pytest.approx(before)
    assert back.distance_m == pytest.approx(zone.distance_m)
    assert carried(zone, STILL) is zone


def test_a_vehicle_that_pitches_widens_the_z_range() -> None:
    zone = judged("a", [CRATE], [1]).zones[0]
    moved = carried(zone, matrix_from(np.zeros(3), np.array([0, math.sin(0.01), 0, math.cos(0.01)])))
    assert moved.z_range_m[1] - moved.z_range_m[0] > zone.z_range_m[1] - zone.z_range_m[0]
    assert moved.size_m[2] == pytest.approx(moved.z_range_m[1] - moved.z_range_m[0])


def test_points_are_those_of_the_zones() -> None:
    result = judged("a", [CRATE, *PAIR], [1, 2, 3])
    assert result.frame.points is not None
    for seen, zone in zip(seen_zones(result), result.zones):
        assert np.allclose(seen.xyz, result.frame.points.xyz[zone.point_indices], atol=1e-5)
        assert seen.cameras == ("a",)
    assert seen_zones(replace(result, zones=())) == ()


def test_a_camera_that_comes_twice_is_refused() -> None:
    one = view(judged("a", [CRATE], [1]))
    with pytest.raises(GeometryError, match=r"at most one of a camera, got a, a"):
        merge([one, one], EGO, CONFIG)


@pytest.mark.parametrize("T", [np.full((4, 4), np.nan), np.eye(3)], ids=["NaN", "3x3"])
def test_a_motion_that_is_none_is_refused(T: DoubleArray) -> None:
    with pytest.raises(GeometryError, match=r"camera a: expected a finite 4x4 motion"):
        merge([view(judged("a", [CRATE], [1]), T)], EGO, CONFIG)
