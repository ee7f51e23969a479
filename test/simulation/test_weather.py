# SPDX-License-Identifier: Apache-2.0
"""Air, water and lamps on pictures of which the answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vl_anomaly_ros.simulation.camera import Intrinsics, Mounting
from vl_anomaly_ros.simulation.hard_looks import make_hard_look
from vl_anomaly_ros.simulation.scene import Look
from vl_anomaly_ros.simulation.weather import bloom, dazzle, fog, glint, headlights, reflectance, sun_direction, wet

GREY = np.full((40, 80, 3), 0.4, np.float32)
INTRINSICS = Intrinsics(80, 40, float(np.radians(80)))
POSE = Mounting().pose_base_camera()


def _look(name: str) -> Look:
    return make_hard_look(np.random.default_rng(1), name, 0.0)


def _rays(*, camera: bool = False) -> np.ndarray:
    k = INTRINSICS.matrix
    v, u = np.mgrid[0:40, 0:80]
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(u.shape)], -1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    return (rays if camera else rays @ POSE[:3, :3].T).astype(np.float32)


def test_fog_leaves_a_twentieth_at_its_range_and_hides_what_is_far() -> None:
    look = replace(_look("fog"), fog_m=100.0)
    depth = np.full((40, 80), 100.0, np.float32)
    depth[:, 40:] = 1000.0
    depth[:20] = 0.0
    picture, through = fog(GREY, depth, look, np.random.default_rng(0))
    np.testing.assert_allclose(picture[:20], GREY[:20], atol=1e-6)
    assert 0.015 < through[20:, :40].mean() < 0.12, "exp(-3) in the mean, patchy"
    np.testing.assert_allclose(picture[20:, 40:], np.broadcast_to(look.sky_horizon, (20, 40, 3)), atol=1e-3)


def test_water_reflects_little_from_above_and_nearly_all_at_a_grazing_angle() -> None:
    down = np.array([[[0, 0, -1.0]]], np.float32)
    grazing = np.array([[[1.0, 0, -0.001]]], np.float32)
    assert float(reflectance(down)[0, 0]) == pytest.approx(0.02)
    assert float(reflectance(grazing)[0, 0]) > 0.98


def test_a_bright_thing_in_the_mirror_shows_on_wet_road_alone() -> None:
    mirrored = GREY.copy()
    mirrored[:, 30:36] = 1.0
    road = np.zeros((40, 80), bool)
    road[24:] = True
    water = np.full((40, 80), 0.9, np.float32)
    picture, strange = wet(GREY, mirrored, water, _rays(), road)
    np.testing.assert_array_equal(picture[:24], GREY[:24])
    assert picture[25, 33].mean() > picture[25, 60].mean() + 0.2
    assert strange[25, 33]
    assert not strange[25, 60]
    assert not strange[:24].any()
    dry, nothing = wet(GREY, mirrored, 0 * water, _rays(), road)
    np.testing.assert_allclose(dry, GREY, atol=1e-6)
    assert not nothing.any()


def test_a_film_of_water_darkens_the_road() -> None:
    road = np.ones((40, 80), bool)
    dark = np.zeros_like(GREY)
    picture, _ = wet(GREY, dark, np.full((40, 80), 0.5, np.float32), _rays(), road)
    assert picture[-1].mean() < 0.7 * GREY.mean()


def test_headlights_reach_the_road_not_the_sky() -> None:
    depth = np.full((40, 80), 12.0, np.float32)
    far = np.full((40, 80), 300.0, np.float32)
    lit, unlit = (
        headlights(GREY, d, _rays(camera=True), _look("dusk"), np.random.default_rng(2)) for d in (depth, far)
    )
    assert lit[30, 40].mean() > 1.3 * GREY.mean(), "the road ahead"
    np.testing.assert_allclose(lit[3, 40], GREY[3, 40], rtol=0.02)
    np.testing.assert_allclose(unlit[30, 40], GREY[30, 40], rtol=0.05)


def test_bloom_spreads_from_what_is_bright_only() -> None:
    np.testing.assert_allclose(bloom(GREY, 1.0), GREY)
    picture = GREY.copy()
    picture[20, 40] = 1.0
    spread = bloom(picture, 1.0)
    assert spread[20, 41].mean() > 0.4
    assert spread[2, 2].mean() == pytest.approx(0.4, abs=1e-4)


def _low_sun(azimuth_rad: float) -> Look:
    return replace(_look("glare"), sun_azimuth_rad=azimuth_rad, sun_elevation_rad=0.2, glare=1.0)


def test_a_sun_in_view_dazzles_most_at_its_place_and_less_behind_a_house() -> None:
    sky = np.ones((40, 80), bool)
    seen = dazzle(GREY, sky, _low_sun(0.0), INTRINSICS, POSE)
    hidden = dazzle(GREY, ~sky, _low_sun(0.0), INTRINSICS, POSE)
    behind = dazzle(GREY, sky, _low_sun(np.pi), INTRINSICS, POSE)
    row, column = np.unravel_index(seen.sum(axis=2).argmax(), (40, 80))
    towards = POSE[:3, :3].T @ sun_direction(_low_sun(0.0))
    (pixel,), _ = INTRINSICS.project(towards[None])
    np.testing.assert_allclose((column, row), pixel, atol=1.5)
    assert seen.mean() > hidden.mean() > GREY.mean()
    np.testing.assert_array_equal(behind, GREY)


def test_the_road_glints_below_the_sun() -> None:
    road = np.zeros((40, 80), bool)
    road[21:] = True
    rough = np.ones((40, 80), np.float32)
    picture, shining = glint(GREY, _rays(), road, _low_sun(0.0), rough)
    assert shining[:, 35:45].any()
    assert not shining[:, :15].any()
    assert not shining[:21].any()
    np.testing.assert_array_equal(picture[:21], GREY[:21])
    _, away = glint(GREY, _rays(), road, _low_sun(np.pi), rough)
    assert not away.any()
