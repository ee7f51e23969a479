# SPDX-License-Identifier: Apache-2.0
"""What the renderer labels is what its rays hit, and it says what is missing."""

from __future__ import annotations

import ctypes.util
import os

import numpy as np
import pytest

from vl_anomaly_ros.errors import SimulationError
from vl_anomaly_ros.simulation.camera import Intrinsics
from vl_anomaly_ros.simulation.catalogue import anomaly_categories, class_index
from vl_anomaly_ros.simulation.mujoco_renderer import MujocoRenderer, choose_opengl, load_mujoco
from vl_anomaly_ros.simulation.scene import ANOMALY_VALUE
from vl_anomaly_ros.simulation.views import View, place_things, random_view
from vl_anomaly_ros.simulation.world import make_scene


def test_missing_opengl_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(ctypes.util, "find_library", lambda _name: None)
    with pytest.raises(SimulationError, match="sudo apt-get install libosmesa6"):
        load_mujoco()


def test_egl_is_taken_where_osmesa_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "")  # so that the variable is put back afterwards
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: "libEGL.so.1" if name == "EGL" else None)
    assert choose_opengl() == "egl"
    assert os.environ["MUJOCO_GL"] == "egl"


def _placed(renderer: MujocoRenderer, seed: int) -> View:
    rng = np.random.default_rng(seed)
    view = random_view(rng, renderer.scene, renderer.width_px, renderer.height_px)
    place_things(rng, renderer.scene, view, 5.0)
    renderer.update()
    renderer.look_from(view.pose_world_base @ view.mounting.pose_base_camera(), view.intrinsics.fov_y_rad)
    return view


@pytest.mark.usefixtures("gl")
def test_rays_through_pixels_hit_what_the_labels_say() -> None:
    scene = make_scene(4, categories=anomaly_categories("all"), anomaly_count=8, style="urban")
    with MujocoRenderer(scene, 160, 80) as renderer:
        view = _placed(renderer, 1)
        semantic, instances = renderer.labels()
        v, u = np.mgrid[0:80, 0:160]
        k = view.intrinsics.matrix
        rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(u.shape)], -1).reshape(-1, 3)
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        pose = view.pose_world_base @ view.mounting.pose_base_camera()
        _, geoms = renderer.cast(pose[:3, 3], rays @ pose[:3, :3].T, 500.0)
        ray_semantic, ray_instance, _ = renderer.hit_labels(geoms)
    # Edges differ by a fraction of a pixel; everything else must be the same.
    assert np.mean(ray_semantic == semantic.ravel()) > 0.97
    assert np.mean(ray_instance == instances.ravel()) > 0.96
    assert (semantic == ANOMALY_VALUE).any()
    assert (semantic == class_index("road")).mean() > 0.1


def test_pixel_centres_lie_at_whole_numbers() -> None:
    intrinsics = Intrinsics(160, 80, float(np.radians(80)))
    pixels, inside = intrinsics.project(np.array([[0.0, 0.0, 10.0], [0.0, 0.0, -1.0]]))
    np.testing.assert_allclose(pixels[0], [79.5, 39.5])
    assert inside.tolist() == [True, False]


@pytest.mark.usefixtures("gl")
def test_things_not_placed_are_not_seen() -> None:
    scene = make_scene(4, categories=anomaly_categories("seen"), anomaly_count=6, style="rural")
    with MujocoRenderer(scene, 64, 32) as renderer:
        _placed(renderer, 2)
        hidden = {thing.instance for thing in scene.objects if thing.movable and not thing.placed}
        assert hidden
        assert not hidden & set(np.unique(renderer.labels()[1]).tolist())


@pytest.mark.usefixtures("gl")
def test_a_renderer_for_rays_only_says_that_it_cannot_draw() -> None:
    renderer = MujocoRenderer(make_scene(1, style="rural", length_m=110.0, traffic=False), 0, 0)
    with pytest.raises(SimulationError, match="rays only"):
        renderer.colour()
