# SPDX-License-Identifier: Apache-2.0
"""Maps of what lies on the road, and how a camera sees them."""

from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.simulation.camera import Intrinsics, Mounting, pose_on_ground
from vl_anomaly_ros.simulation.ground import HARD_KINDS, STEP_M, GroundMap, GroundViewer, kind_index
from vl_anomaly_ros.simulation.ground_marks import paint_ground
from vl_anomaly_ros.simulation.hard_view import pixel_rays
from vl_anomaly_ros.simulation.hard_world import make_hard_scene
from vl_anomaly_ros.simulation.scene import FloatArray, Scene
from vl_anomaly_ros.simulation.views import View

INTRINSICS = Intrinsics(256, 128, float(np.radians(80)))
MOUNTING = Mounting()


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_hard_scene(8, length_m=100.0, style="city", look="low sun")


def _view(scene: Scene, s: float, d: float) -> tuple[View, FloatArray]:
    x, y, _ = scene.line.place(s, d)
    view = View(s, pose_on_ground(float(x), float(y), float(scene.line.heading(s))), MOUNTING, INTRINSICS)
    return view, view.pose_world_base @ MOUNTING.pose_base_camera()


def _pixel(scene: Scene, pose: FloatArray, s: float, d: float) -> tuple[int, int]:
    point = np.append(scene.line.place(s, d), 1.0)
    (pixel,), (inside,) = INTRINSICS.project((np.linalg.inv(pose) @ point)[None, :3])
    assert inside
    return round(float(pixel[1])), round(float(pixel[0]))


def test_a_square_on_the_map_is_seen_where_it_projects_to(scene: Scene) -> None:
    ground = GroundMap.bare(scene)
    view, pose = _view(scene, 30.0, -1.5)
    at, ds, dd = ground.window(37.0, -1.0, 0.6, 0.6)
    assert ds.shape[0] == pytest.approx(1.2 / STEP_M[0], abs=1)
    assert dd.shape[1] == pytest.approx(1.2 / STEP_M[1], abs=1)
    ground.blend(at, np.ones((ds.shape[0], dd.shape[1]), np.float32), (0.5, 0.5, 0.5), "manhole")
    ground.wear[at] = 255
    rays = pixel_rays(view) @ pose[:3, :3].T.astype(np.float32)
    seen = GroundViewer(scene, ground).look(rays, float(pose[2, 3]), pose[:3, 3])
    inside, beside = _pixel(scene, pose, 37.0, -1.0), _pixel(scene, pose, 37.0, 0.6)
    assert seen.kind[inside] == kind_index("manhole")
    np.testing.assert_allclose(seen.tint[inside], 0.5, atol=0.02)
    assert seen.wear[inside] == pytest.approx(1.0, abs=0.02)
    assert seen.kind[beside] == 0
    np.testing.assert_allclose(seen.tint[beside], 1.0, atol=0.02)
    # Corners of the square, projected, bound its pixels.
    corners = [_pixel(scene, pose, 37.0 + i * 0.6, -1.0 + j * 0.6) for i in (-1, 1) for j in (-1, 1)]
    rows, columns = np.nonzero(seen.valid & (seen.kind == kind_index("manhole")))
    for axis, found in ((0, rows), (1, columns)):
        assert found.min() == pytest.approx(min(c[axis] for c in corners), abs=1)
        assert found.max() == pytest.approx(max(c[axis] for c in corners), abs=1)


def test_far_away_the_maps_average(scene: Scene) -> None:
    """A chess board of 8 cm seen from 40 m is grey, not noise."""
    ground = GroundMap.bare(scene)
    rows, columns = np.indices(ground.kind.shape)
    ground.tint[((rows // 2 + columns // 2) % 2) == 0] = 64
    view, pose = _view(scene, 10.0, 0.0)
    rays = pixel_rays(view) @ pose[:3, :3].T.astype(np.float32)
    seen = GroundViewer(scene, ground).look(rays, float(pose[2, 3]), pose[:3, 3])
    row, column = _pixel(scene, pose, 50.0, 0.0)
    assert seen.tint[row, column - 4 : column + 5].std() < 0.03
    np.testing.assert_allclose(seen.tint[row, column], 0.75, atol=0.04)


def test_nothing_is_seen_above_the_horizon_or_beside_the_maps(scene: Scene) -> None:
    view, pose = _view(scene, 20.0, 0.0)
    rays = pixel_rays(view) @ pose[:3, :3].T.astype(np.float32)
    seen = GroundViewer(scene, GroundMap.bare(scene)).look(rays, float(pose[2, 3]), pose[:3, 3])
    assert not seen.valid[:63].any()
    assert seen.valid[-20:, 100:156].all()
    assert not seen.valid[70, 0], "20 m to the side"


def test_a_city_street_has_many_kinds_and_the_same_again(scene: Scene) -> None:
    one, two = paint_ground(scene), paint_ground(scene)
    np.testing.assert_array_equal(one.tint, two.tint)
    np.testing.assert_array_equal(one.kind, two.kind)
    painted = {HARD_KINDS[value] for value in np.unique(one.kind)}
    assert len(painted) >= 6
    assert painted.isdisjoint({"shadow", "reflection", "sun glint"}), "these follow from the view"
    assert one.shade.max() > 200
    assert 0.02 < (one.kind > 0).mean() < 0.5


@pytest.mark.parametrize(("look", "wet"), [("rain", True), ("overcast", False)])
def test_rain_wets_the_whole_road(look: str, wet: bool) -> None:
    ground = paint_ground(make_hard_scene(8, length_m=60.0, style="rural", look=look))
    assert ((ground.water > 20).mean() > 0.9) == wet
    assert (ground.shade == 0).all(), "no sun, no shadow"


def test_kinds_are_few_enough_for_a_byte_and_begin_with_none() -> None:
    assert HARD_KINDS[0] == "none"
    assert len(set(HARD_KINDS)) == len(HARD_KINDS) < 255
