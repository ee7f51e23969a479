# SPDX-License-Identifier: Apache-2.0
"""What air, water and lamps do to a picture. Pictures are (H, W, 3) float32 RGB, 0..1, before exposure."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .camera import Intrinsics
from .scene import FloatArray, Look

FloatImage = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rng = np.random.Generator

_VEIL_SHARE = {"seen": 1.0, "outside": 0.5, "hidden": 0.15}


def reflectance(rays: FloatImage) -> FloatImage:
    """Share of light that level water reflects along `rays` (H, W, 3), world frame, unit length; Schlick's formula."""
    return np.asarray(0.02 + 0.98 * (1 - np.abs(rays[..., 2])) ** 5, np.float32)


def wet(
    rgb: FloatImage, mirrored: FloatImage, water: FloatImage, rays: FloatImage, road: Mask
) -> tuple[FloatImage, Mask]:
    """Road with a film of `water` (H, W) that mirrors `mirrored`; also where a reflected thing stands out.

    A thin film darkens the road and smears what it reflects upright; standing water (from 0.8) mirrors sharply.
    """
    film = np.where(road, water, np.float32(0))
    width = rgb.shape[1]
    smeared = np.asarray(cv2.GaussianBlur(mirrored, (0, 0), 1.2 * width / 512, sigmaY=7 * width / 512), np.float32)
    sharp = np.clip((film - np.float32(0.7)) / np.float32(0.2), 0, 1)[..., None]
    image = sharp * mirrored + (1 - sharp) * smeared
    share = (reflectance(rays) * np.clip(film * np.float32(1.15), 0, 1))[..., None]
    soaked = rgb * (1 - np.float32(0.45) * np.clip(film * 2, 0, 1)[..., None])
    # A row's usual reflection is the sky's: what differs from it is a thing's.
    light = image.mean(axis=2)
    usual = np.zeros_like(light[:, :1])
    for row in np.flatnonzero(road.any(axis=1)):
        usual[row] = np.median(light[row, road[row]])
    strange = road & (np.abs(light - usual) * share[..., 0] > np.float32(0.015) + np.float32(0.08) * usual)
    return soaked * (1 - share) + image * share, strange


def fog(rgb: FloatImage, depth_m: FloatImage, look: Look, rng: Rng) -> tuple[FloatImage, FloatImage]:
    """Air light over the picture by true depth (Koschmieder); also the share that still comes through, (H, W).

    `look.fog_m` is the meteorological range: there, 5 % of the contrast are left. The fog is a little patchy.
    """
    grid = rng.normal(0, 0.12, (3, 5)).astype(np.float32)
    patchy = 1 + np.asarray(cv2.resize(grid, depth_m.shape[::-1], interpolation=cv2.INTER_CUBIC))
    through = np.exp(-3.0 * depth_m * np.clip(patchy, 0.6, 1.4) / np.float32(look.fog_m)).astype(np.float32)
    air = np.asarray(look.sky_horizon, np.float32)
    return rgb * through[..., None] + air * (1 - through[..., None]), through


def headlights(rgb: FloatImage, depth_m: FloatImage, rays_camera: FloatImage, look: Look, rng: Rng) -> FloatImage:
    """The ego vehicle's low beam: falls off with the square of distance, cut off above the horizon."""
    azimuth = rays_camera[..., 0] / rays_camera[..., 2]
    below = rays_camera[..., 1] / rays_camera[..., 2] + np.float32(rng.normal(0.0, 0.012))
    beam = np.exp(-((azimuth / np.float32(0.42)) ** 2)) / (1 + np.exp(-(below + np.float32(0.004)) / np.float32(0.012)))
    near = np.clip(np.float32(16.0) / np.maximum(depth_m, 1.0), 0, 1.6) ** 2
    gain = float(rng.uniform(0.22, 0.5)) * beam * near * (depth_m < 400)
    ambient = max(float(np.mean(look.ambient)), 0.05)
    warm = np.array([1.0, 0.95, 0.84], np.float32)
    lit = 1 + (np.clip(gain, 0, 0.55) / ambient)[..., None] * warm * 0.8
    return np.asarray(rgb * lit, np.float32)


def bloom(rgb: FloatImage, strength: float) -> FloatImage:
    """Halo about what is brighter than the sensor holds."""
    width = rgb.shape[1]
    over = np.clip(rgb - np.float32(0.55), 0, None)
    halo = sum(np.asarray(cv2.GaussianBlur(over, (0, 0), sigma * width / 512)) for sigma in (2.0, 7.0))
    return np.asarray(rgb + np.float32(strength) * np.asarray(halo), np.float32)


def sun_direction(look: Look) -> FloatArray:
    """Unit vector towards the sun, world frame."""
    e, a = look.sun_elevation_rad, look.sun_azimuth_rad
    return np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])


def glint(rgb: FloatImage, rays: FloatImage, lit_road: Mask, look: Look, rough: FloatImage) -> tuple[FloatImage, Mask]:
    """Sheen of the road under a low sun; also where it is strong. `rough` (H, W) about 1 breaks it up."""
    sun = sun_direction(look)
    mirrored = rays * np.array([1, 1, -1], np.float32)
    up = np.arcsin(np.clip(mirrored[..., 2], -1, 1)) - np.arcsin(sun[2])
    flat = np.maximum(np.hypot(mirrored[..., 0], mirrored[..., 1]), 1e-3)
    across = 1 - (mirrored[..., 0] * sun[0] + mirrored[..., 1] * sun[1]) / (flat * np.hypot(sun[0], sun[1]))
    sheen = np.exp(-np.maximum(across, 0) / np.float32(0.03)) * np.exp(-((up / np.float32(0.16)) ** 2))
    sheen = np.where(lit_road, sheen * look.glare * np.clip(rough, 0.4, 1.6) ** 2, 0).astype(np.float32)
    return rgb + np.float32(0.6) * sheen[..., None] * np.asarray(look.sun, np.float32), sheen > np.float32(0.16)


def dazzle(rgb: FloatImage, sky: Mask, look: Look, intrinsics: Intrinsics, pose_world_camera: FloatArray) -> FloatImage:
    """A sun in view or near it: its disc, the veil it spreads in the lens, ghosts on the line through the middle."""
    towards = pose_world_camera[:3, :3].T @ sun_direction(look)
    if towards[2] < 0.2:
        return rgb
    height, width = sky.shape
    k = intrinsics.matrix
    u, v = towards[:2] / towards[2] * k[0, 0] + k[:2, 2]
    inside = 0 <= u < width and 0 <= v < height
    state = "outside" if not inside else "seen" if sky[int(v), int(u)] else "hidden"
    strength = np.float32(look.glare * _VEIL_SHARE[state])
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    r = np.hypot(x - np.float32(u), y - np.float32(v)) / np.float32(width)
    veil = np.float32(0.95) * np.exp(-r / np.float32(0.05)) + np.float32(0.5) * np.exp(-r / np.float32(0.25))
    if state == "seen":
        veil += np.float32(1.5) * (r < 0.012)
        for along, size, light in ((0.55, 0.03, 0.1), (1.35, 0.05, 0.06), (1.7, 0.02, 0.12)):
            gx, gy = u + along * (width / 2 - u), v + along * (height / 2 - v)
            veil += np.float32(light) * (np.hypot(x - np.float32(gx), y - np.float32(gy)) < size * width)
    colour = 0.5 + 0.5 * np.asarray(look.sun, np.float32)
    return np.asarray(rgb + strength * veil[..., None] * colour, np.float32)
