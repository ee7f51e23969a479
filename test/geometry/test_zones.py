# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from road_world import HEIGHT, T_BASE_CAMERA, WIDTH, Thing, World, region_at

from vl_anomaly_ros.config import FusionConfig
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.evaluation.judging import region_of
from vl_anomaly_ros.geometry.boxes import distance_to_polygon, signed_area
from vl_anomaly_ros.geometry.scene import R_OPTICAL_LEVEL, prepare
from vl_anomaly_ros.geometry.transforms import apply, inverse, matrix_from
from vl_anomaly_ros.geometry.zones import BEHIND, FusedZones, fuse
from vl_anomaly_ros.types import DepthStatus, DoubleArray, Frame, HazardZone, PointCloud

CONFIG = FusionConfig()
CRATE = Thing(12, 1, 1.0, 1.2, 0.9)
WALL = Thing(20, 0, 0.5, 40, 5.0)


def zone_of(world: World, number: int = 1, grow_px: int = 0, frame: Frame | None = None) -> HazardZone:
    """The zone of one thing of a world, from its true mask grown by some pixels."""
    mask = (world.picture() == number).astype(np.uint8)
    if grow_px:
        mask = cv2.dilate(mask, np.ones((2 * grow_px + 1,) * 2, np.uint8))
    region = region_of(mask > 0)
    return fuse(frame or world.frame(), [region], mask.astype(np.uint16), CONFIG).zones[0]


def assert_sound(zone: HazardZone) -> None:
    """No NaN, a convex counter-clockwise footprint that the box holds, and a covariance that is one."""
    numbers = [*zone.center_m, *zone.size_m, zone.yaw_rad, *zone.z_range_m, zone.distance_m]
    assert np.all(np.isfinite(numbers))
    assert np.all(np.isfinite(zone.footprint_m))
    assert len(zone.footprint_m) >= 3
    assert signed_area(zone.footprint_m) > 0
    assert min(zone.size_m) > 0
    assert zone.z_range_m[0] < zone.z_range_m[1]
    assert -math.pi / 2 < zone.yaw_rad <= math.pi / 2
    assert np.all(np.linalg.eigvalsh(zone.position_covariance) > 0)
    assert (zone.reason == "") == (zone.status is DepthStatus.MEASURED)


def test_a_crate_in_front_of_a_wall_by_hand() -> None:
    world = World([CRATE, WALL], noise_m=0.01)
    zone = zone_of(world)
    assert_sound(zone)
    assert zone.status is DepthStatus.MEASURED
    # Nearest corner of the crate: (11.5, 0.4).
    assert zone.distance_m == pytest.approx(math.hypot(11.5, 0.4), abs=0.06)
    assert zone.center_m[1] == pytest.approx(1.0, abs=0.1)
    assert zone.z_range_m[1] == pytest.approx(0.9, abs=0.15)
    assert max(zone.size_m[:2]) < 1.7


@pytest.mark.parametrize("grow_px", [0, 4, 8])
@pytest.mark.parametrize("slope", [0.0, 0.06])
def test_bleeding_masks_catch_neither_wall_nor_road(grow_px: int, slope: float) -> None:
    world = World([CRATE, WALL], slope, noise_m=0.01)
    zone = zone_of(world, grow_px=grow_px)
    _, what = world.scan()
    own = set(world.seen(1).tolist())
    found = set(zone.point_indices.tolist())
    assert len(found & own) >= 0.9 * len(own)
    assert sum(what[i] == 2 for i in found) == 0
    assert len(found - own) <= 0.1 * len(found)
    assert zone.distance_m == pytest.approx(math.hypot(11.5, 0.4), abs=0.12)


def test_an_occluding_post_in_front_does_not_take_over() -> None:
    post = Thing(7, 0.75, 0.1, 0.1, 2.5)
    world = World([CRATE, WALL, post], noise_m=0.01)
    mask = np.where(np.isin(world.picture(), (1, 3)), 1, 0).astype(np.uint16)
    columns = np.flatnonzero((world.picture() == 1).any(axis=0))
    mask[:, : columns[0]] = 0
    mask[:, columns[-1] :] = 0
    zone = fuse(world.frame(), [region_of(mask > 0)], mask, CONFIG).zones[0]
    # The post stands inside the region, and something does stand there: the nearer answer is the safe one.
    assert zone.distance_m < math.hypot(11.5, 0.4) + 0.1
    assert_sound(zone)


def test_areas_merged_for_want_of_room_are_one_wedge_however_many_points_they_have() -> None:
    world = World([CRATE, Thing(25, -3, 1.0, 1.0, 1.0)], noise_m=0.01)
    mask = (world.picture() > 0).astype(np.uint16)
    region = dataclasses.replace(region_of(mask > 0), merged=2)
    zone = fuse(world.frame(), [region], mask, CONFIG).zones[0]
    assert (zone.status, zone.num_points) == (DepthStatus.UNKNOWN, 0)
    assert zone.reason == "2 areas beyond regions.max_regions"
    inside = [
        cv2.pointPolygonTest(zone.footprint_m.astype(np.float32), (float(x), float(y)), False) >= 0
        for x, y in ((12.0, 1.0), (25.0, -3.0))
    ]
    assert inside == [True, True]
    assert_sound(zone)


def test_points_of_things_behind_the_camera_change_nothing() -> None:
    behind = Thing(-12, -1, 1.0, 1.2, 0.9)  # would project into the same pixels through the back of the camera
    alone, both = (zone_of(World(things, reach_deg=180)) for things in ([CRATE, WALL], [CRATE, WALL, behind]))
    assert both.distance_m == alone.distance_m
    assert both.num_points == alone.num_points


def test_two_regions_are_two_zones_in_order() -> None:
    world = World([CRATE, Thing(16, -3, 1, 1, 1.5), WALL])
    picture = world.picture()
    instances = np.where(picture <= 2, picture, 0).astype(np.uint16)
    regions = [region_of(instances == n, n) for n in (2, 1)]
    fused = fuse(world.frame(), regions, instances, CONFIG)
    assert [z.region_id for z in fused.zones] == [2, 1]
    assert fused.zone_frame == "base_link"
    assert fused.zones[0].distance_m == pytest.approx(math.hypot(15.5, 2.5), abs=0.1)
    assert not set(fused.zones[0].point_indices.tolist()) & set(fused.zones[1].point_indices.tolist())


def test_a_plank_lower_than_the_clearance_is_measured_on_the_ground() -> None:
    plank = Thing(8, 0, 0.6, 1.6, 0.06)
    zone = zone_of(World([plank]))
    assert_sound(zone)
    assert zone.status in (DepthStatus.MEASURED, DepthStatus.SPARSE)
    assert zone.distance_m == pytest.approx(7.7, abs=0.3)


def test_a_rotated_camera_gives_the_same_zone() -> None:
    roll = matrix_from(np.zeros(3), np.array([0.0, 0.0, math.sin(0.4), math.cos(0.4)]))
    level = zone_of(World([CRATE, WALL]))
    rolled = zone_of(World([CRATE, WALL], T_base_camera=T_BASE_CAMERA @ roll))
    assert rolled.distance_m == pytest.approx(level.distance_m, abs=0.03)
    assert rolled.center_m == pytest.approx(level.center_m, abs=0.1)


def test_zones_are_given_in_the_output_frame_and_distances_from_the_ego() -> None:
    world = World([CRATE, WALL])
    plain, frame = zone_of(world), world.frame()
    # The vehicle stands at (100, 50, 2) in the map and looks to the left.
    T_map_base = matrix_from(np.array([100.0, 50, 2]), np.array([0, 0, math.sqrt(0.5), math.sqrt(0.5)]))
    assert frame.T_output_camera is not None
    moved = zone_of(
        world,
        frame=dataclasses.replace(
            frame, output_frame="map", T_output_camera=T_map_base @ frame.T_output_camera, T_output_ego=T_map_base
        ),
    )
    assert moved.distance_m == pytest.approx(plain.distance_m, abs=0.05)
    expected = apply(T_map_base, np.array([plain.center_m]))[0]
    assert moved.center_m == pytest.approx(tuple(expected), abs=0.15)
    assert distance_to_polygon(moved.footprint_m, np.array([100.0, 50])) == pytest.approx(moved.distance_m)


REGION = region_at((300, 190, 340, 230))
INSTANCES: npt.NDArray[np.uint16] = np.zeros((HEIGHT, WIDTH), np.uint16)
INSTANCES[190:230, 300:340] = 1


def fuse_with(
    xyz: DoubleArray | None = None, offsets_ns: npt.NDArray[np.int64] | None = None, **changes: Any
) -> FusedZones:
    """One region of 40 x 40 pixels around the axis, below the horizon, and a cloud in the optical frame."""
    frame = World([]).frame()
    assert frame.points is not None
    if xyz is not None:
        points = PointCloud(xyz.astype(np.float32), 1_000_000_000, "lidar", offsets_ns)
        frame = dataclasses.replace(frame, points=points, T_camera_points=np.eye(4))
    return fuse(dataclasses.replace(frame, **changes), [REGION], INSTANCES, CONFIG)


def test_one_point_gives_a_sparse_zone_as_wide_as_the_region() -> None:
    zone = fuse_with(np.array([[0.0, 0.6, 15.0]])).zones[0]
    assert_sound(zone)
    assert zone.status is DepthStatus.SPARSE
    assert zone.reason == "1 LiDAR points, 10 make a measurement"
    # 40 px at 15 m: 40 / 400 * 15 = 1.5 m; the camera is 1 m ahead of the ego origin.
    assert max(zone.size_m[:2]) == pytest.approx(1.5, abs=0.05)
    assert zone.distance_m == pytest.approx(16.0, abs=0.1)
    assert zone.point_indices.tolist() == [0]


@pytest.mark.parametrize(
    "xyz",
    [
        np.tile([[0.0, 0.6, 15.0]], (30, 1)),
        np.stack([np.linspace(-0.5, 0.5, 30), np.full(30, 0.6), np.full(30, 15.0)], 1),
        np.stack([np.zeros(30), np.full(30, 0.6), np.linspace(14.8, 15.2, 30)], 1),
        np.array([[0.0, 0.6, 15.0], [0.3, 0.6, 15.0]]),
    ],
    ids=["identical", "across", "along", "two"],
)
def test_degenerate_clouds_give_sound_zones(xyz: DoubleArray) -> None:
    zone = fuse_with(xyz).zones[0]
    assert_sound(zone)
    assert zone.num_points == len(xyz)


NO_CLOUD = {"points": None, "T_camera_points": None}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (NO_CLOUD, "no point cloud"),
        ({**NO_CLOUD, "missing": ("no cloud within 0.5 s",)}, "no cloud within 0.5 s"),
        ({"points": PointCloud(np.zeros((0, 3), np.float32), 0, "lidar")}, "the point cloud is empty"),
        ({"T_camera_points": None, "missing": ("no transform a -> b",)}, "no transform a -> b"),
        ({"T_camera_points": np.full((4, 4), np.nan)}, "no transform base_link -> optical"),
        ({"calibration": None}, "no camera calibration"),
        ({"T_output_camera": None}, "no transform optical -> base_link"),
        ({"T_output_camera": np.full((4, 4), np.nan)}, "no transform optical -> base_link"),
    ],
)
def test_what_is_missing_makes_a_wedge_that_says_why(changes: dict[str, Any], reason: str) -> None:
    fused = fuse_with(**changes)
    assert len(fused.zones) == 1
    zone = fused.zones[0]
    assert_sound(zone)
    assert zone.status is DepthStatus.UNKNOWN
    assert zone.reason == reason
    assert zone.num_points == 0


def test_without_a_transform_the_wedge_is_in_the_optical_frame() -> None:
    fused = fuse_with(T_output_camera=None)
    assert fused.zone_frame == "optical"
    # Level x, y, z are optical z, -x, -y.
    assert np.array_equal(fused.R_zone_level, R_OPTICAL_LEVEL)
    assert np.array_equal(fused.R_zone_level @ [1, 2, 3], [-2, -3, 1])
    zone = fused.zones[0]
    assert zone.distance_m == pytest.approx(0, abs=0.1)  # the height of the camera is not known
    assert abs(zone.center_m[1]) < 0.5
    assert zone.center_m[0] == pytest.approx(40, abs=1)


def test_no_point_on_the_region_is_unknown_not_nothing() -> None:
    zone = fuse_with(np.array([[5.0, 0.6, 10.0], [np.nan, 1, 2], [0.0, 0.0, np.inf], [0, 4, 150]])).zones[0]
    assert_sound(zone)
    assert zone.status is DepthStatus.UNKNOWN
    assert "no LiDAR point on the region" in zone.reason


def test_background_far_behind_the_foot_of_the_region_is_not_taken_for_it() -> None:
    # The region's foot meets level ground 400 / 50 * 1.5 = 12 m ahead; only a wall at 60 m returns through it.
    y, x = (v.ravel() for v in np.meshgrid(np.linspace(1.0, 7.0, 10), np.linspace(-2, 2, 10)))
    zone = fuse_with(np.stack([x, y, np.full(100, 60.0)], 1)).zones[0]
    assert zone.status is DepthStatus.UNKNOWN
    assert zone.reason == BEHIND
    assert zone.distance_m < 13


def test_an_old_cloud_is_stale_and_less_certain() -> None:
    xyz = np.random.default_rng(0).normal([0, 0.6, 15], [0.2, 0.2, 0.05], (50, 3))
    fresh = fuse_with(xyz).zones[0]
    old = fuse_with(xyz, stamp_ns=1_400_000_000).zones[0]
    assert (fresh.status, old.status) == (DepthStatus.MEASURED, DepthStatus.STALE)
    assert old.reason == "the point cloud is 0.40 s old"
    assert old.position_covariance[0, 0] > fresh.position_covariance[0, 0] + 3.9  # (5 m/s * 0.4 s)^2
    assert_sound(old)


def test_a_sweep_whose_ego_motion_is_not_taken_out_is_stale_and_less_certain() -> None:
    xyz = np.random.default_rng(0).normal([0, 0.6, 15], [0.2, 0.2, 0.05], (50, 3))
    still = fuse_with(xyz).zones[0]
    swept = fuse_with(xyz, offsets_ns=np.linspace(0, 100_000_000, 50).astype(np.int64)).zones[0]
    assert (swept.status, swept.reason) == (DepthStatus.STALE, "the ego motion within the sweep is not taken out")
    assert swept.position_covariance[0, 0] > still.position_covariance[0, 0] + 2.2  # (15 m/s * 0.1 s)^2
    assert_sound(swept)


def test_switched_off_is_said() -> None:
    frame = World([CRATE]).frame()
    zone = fuse(frame, [REGION], INSTANCES, dataclasses.replace(CONFIG, enabled=False)).zones[0]
    assert (zone.status, zone.reason) == (DepthStatus.UNKNOWN, "LiDAR fusion is switched off")


def test_an_unusable_distortion_model_is_unknown_with_its_name() -> None:
    frame = World([CRATE]).frame()
    assert frame.calibration is not None
    strange = dataclasses.replace(frame.calibration, D=np.array([0.1]), distortion_model="thin_prism")
    zone = fuse_with(calibration=strange).zones[0]
    assert zone.status is DepthStatus.UNKNOWN
    assert "thin_prism" in zone.reason


def test_a_region_without_pixels_is_unknown() -> None:
    zone = fuse(World([CRATE]).frame(), [region_at((50, 60, 50, 60), 7)], INSTANCES, CONFIG).zones[0]
    assert_sound(zone)
    assert zone.status is DepthStatus.UNKNOWN


def test_no_regions_no_zones() -> None:
    assert fuse(World([]).frame(), [], INSTANCES, CONFIG).zones == ()


def test_instances_of_another_size_are_refused() -> None:
    with pytest.raises(GeometryError, match="like the image"):
        fuse(World([]).frame(), [REGION], INSTANCES[:100], CONFIG)


def test_random_masks_and_clouds_never_give_nan() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        xyz = rng.normal(0, 1, (int(rng.integers(1, 400)), 3)) * rng.uniform(0.1, 40, 3) + [0, 0, 10]
        x0, y0 = int(rng.integers(0, WIDTH - 1)), int(rng.integers(0, HEIGHT - 1))
        x1, y1 = int(rng.integers(x0 + 1, WIDTH + 1)), int(rng.integers(y0 + 1, HEIGHT + 1))
        instances = np.zeros((HEIGHT, WIDTH), np.uint16)
        instances[y0:y1, x0:x1] = 1
        frame = World([]).frame()
        frame = dataclasses.replace(
            frame, points=PointCloud(xyz.astype(np.float32), 1_000_000_000, "lidar"), T_camera_points=np.eye(4)
        )
        assert_sound(fuse(frame, [region_at((x0, y0, x1, y1))], instances, CONFIG).zones[0])


def test_inverse_of_the_test_camera() -> None:
    # The camera of these tests looks along x: a point ahead of the vehicle is on its axis.
    assert np.allclose(apply(inverse(T_BASE_CAMERA), np.array([[11.0, 0, 1.5]])), [[0, 0, 10]])


def test_the_scene_may_be_prepared_beforehand() -> None:
    world = World([CRATE, Thing(20, 4, 3, 2, 2)], noise_m=0.01)
    frame, instances = world.frame(), world.picture()
    regions = [region_of(instances == number, number) for number in (1, 2)]
    at_once = fuse(frame, regions, instances, CONFIG)
    assert same(fuse(frame, regions, instances, CONFIG, prepare(frame, CONFIG)), at_once)


def test_the_number_of_threads_changes_no_bit() -> None:
    world = World([CRATE, Thing(20, 4, 3, 2, 2)], noise_m=0.01)
    frame, instances = world.frame(), world.picture()
    regions = [region_of(instances == number, number) for number in (1, 2)]
    before = cv2.getNumThreads()
    try:
        results = []
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            results.append(fuse(frame, regions, instances, CONFIG))
    finally:
        cv2.setNumThreads(before)
    assert same(*results)


def same(a: FusedZones, b: FusedZones) -> bool:
    """Whether two results are equal bit for bit."""
    return len(a.zones) == len(b.zones) and all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        for one, other in zip(a.zones, b.zones)
        for field in dataclasses.fields(one)
    )


def test_points_of_a_region_past_its_box_are_no_error() -> None:
    # The instance map holds the region's number outside of the box that is given for it.
    world = World([CRATE])
    instances = world.picture()
    whole = region_of(instances == 1, 1)
    x0, y0, _, _ = whole.bbox
    part = dataclasses.replace(whole, bbox=(x0, y0, x0 + 3, y0 + 3))
    assert_sound(fuse(world.frame(), [part], instances, CONFIG).zones[0])


def test_a_stray_point_of_an_occluder_at_the_rim_does_not_bring_a_small_object_near() -> None:
    # 4 x 4 pixels, an object at 20 m with a point in the middle and one at the rim; a corner is hit at 8 m.
    region = region_at((318, 185, 322, 189))
    instances = np.zeros((HEIGHT, WIDTH), np.uint16)
    instances[185:189, 318:322] = 1
    pixels = np.array([[319.0, 186, 20], [321, 187, 20], [318, 185, 8]])
    xyz = np.stack([(pixels[:, 0] - 319.5) / 400, (pixels[:, 1] - 179.5) / 400, np.ones(3)], 1) * pixels[:, 2:]
    frame = World([]).frame()
    points = PointCloud(xyz.astype(np.float32), frame.stamp_ns, "lidar")
    frame = dataclasses.replace(frame, points=points, T_camera_points=np.eye(4))
    zone = fuse(frame, [region], instances, CONFIG).zones[0]
    assert zone.point_indices.tolist() == [0, 1]
    assert zone.distance_m == pytest.approx(21.0, abs=0.2)


@pytest.mark.parametrize("bbox", [(300, 200, 300, 200), (0, 0, 1, 1), (WIDTH - 1, HEIGHT - 1, WIDTH, HEIGHT)])
def test_a_region_without_pixels_or_in_a_corner_is_no_error(bbox: tuple[int, int, int, int]) -> None:
    zone = fuse(World([CRATE]).frame(), [region_at(bbox)], np.zeros((HEIGHT, WIDTH), np.uint16), CONFIG).zones[0]
    assert_sound(zone)
    assert zone.status is DepthStatus.UNKNOWN


def test_thousands_of_regions_each_get_their_zone() -> None:
    # Squares of 10 x 9 pixels all over the image, up to its borders, and each fourth one merged of several.
    world = World([CRATE, Thing(20, 4, 3, 2, 2), WALL], noise_m=0.01)
    rows, columns = np.arange(HEIGHT) // 9, np.arange(WIDTH) // 10
    instances = (rows[:, None] * (columns[-1] + 1) + columns + 1).astype(np.uint16)
    regions = []
    for number in range(1, int(instances.max()) + 1):
        y, x = divmod(number - 1, int(columns[-1]) + 1)
        region = region_at((10 * x, 9 * y, 10 * x + 10, 9 * y + 9), number)
        regions.append(dataclasses.replace(region, merged=3 if number % 4 == 0 else 1))
    assert len(regions) == 64 * 40
    zones = fuse(world.frame(), regions, instances, CONFIG).zones
    assert [zone.region_id for zone in zones] == [region.id for region in regions]
    for zone in zones[::7]:
        assert_sound(zone)
    assert all(zone.status is DepthStatus.UNKNOWN for zone in zones[3::4])
    found = [index for zone in zones for index in zone.point_indices.tolist()]
    assert len(found) == len(set(found)) > 1000


@pytest.mark.parametrize(
    "bbox", [(0, 0, WIDTH, HEIGHT), (-50, -50, 20, 20), (0, 0, WIDTH + 900, HEIGHT + 900), (600, 300, 590, 290)]
)
def test_boxes_beyond_the_image_and_reversed_ones_are_no_error(bbox: tuple[int, int, int, int]) -> None:
    instances = np.ones((HEIGHT, WIDTH), np.uint16)
    zone = fuse(World([CRATE, WALL]).frame(), [region_at(bbox)], instances, CONFIG).zones[0]
    assert_sound(zone)
