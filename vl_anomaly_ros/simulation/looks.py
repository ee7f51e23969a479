# SPDX-License-Identifier: Apache-2.0
"""Looks of light: sun, sky, haze, and how the camera answers to them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .scene import Colour, Look
from .textures import noise

Rng = np.random.Generator


@dataclass(frozen=True)
class _Preset:
    elevation_rad: tuple[float, float]
    sun: tuple[float, float]
    sun_tint: Colour
    ambient: tuple[float, float]
    ambient_tint: Colour
    top: Colour
    horizon: Colour
    cloud: tuple[float, float]
    haze_m: tuple[float, float]
    exposure: tuple[float, float]
    shadows: bool


_PRESETS: dict[str, _Preset] = {
    "noon": _Preset(
        (0.8, 1.3),
        (0.65, 0.85),
        (1.0, 0.98, 0.93),
        (0.45, 0.58),
        (0.95, 0.98, 1.05),
        (0.25, 0.45, 0.8),
        (0.72, 0.82, 0.92),
        (0.0, 0.8),
        (250, 700),
        (0.95, 1.2),
        True,
    ),
    "low sun": _Preset(
        (0.25, 0.55),
        (0.7, 0.95),
        (1.0, 0.86, 0.66),
        (0.42, 0.55),
        (0.92, 0.95, 1.1),
        (0.35, 0.48, 0.72),
        (0.95, 0.82, 0.62),
        (0.0, 0.9),
        (150, 500),
        (0.9, 1.2),
        True,
    ),
    "overcast": _Preset(
        (0.9, 1.4),
        (0.2, 0.35),
        (0.97, 0.98, 1.0),
        (0.66, 0.82),
        (0.97, 1.0, 1.03),
        (0.62, 0.66, 0.7),
        (0.8, 0.82, 0.84),
        (0.3, 1.0),
        (90, 350),
        (0.9, 1.15),
        False,
    ),
    "dusk": _Preset(
        (0.15, 0.35),
        (0.3, 0.5),
        (1.0, 0.72, 0.52),
        (0.4, 0.52),
        (0.85, 0.92, 1.2),
        (0.16, 0.2, 0.42),
        (0.75, 0.5, 0.42),
        (0.0, 0.8),
        (120, 400),
        (0.9, 1.2),
        True,
    ),
    "haze": _Preset(
        (0.6, 1.2),
        (0.35, 0.55),
        (1.0, 0.97, 0.9),
        (0.6, 0.72),
        (1.0, 1.0, 1.0),
        (0.7, 0.75, 0.8),
        (0.85, 0.86, 0.86),
        (0.0, 0.4),
        (60, 120),
        (0.9, 1.1),
        True,
    ),
}

LOOKS: tuple[str, ...] = tuple(_PRESETS)
"""Names of the looks."""


def tinted(rng: Rng, strength: float, tint: Colour, spread: float = 0.03) -> Colour:
    """`tint` times `strength`, moved a little, within 0..1."""
    red, green, blue = np.clip(strength * (np.asarray(tint) + rng.normal(0, spread, 3)), 0, 1)
    return float(red), float(green), float(blue)


def make_look(rng: Rng, name: str | None = None) -> Look:
    """A look of the preset `name` (any when None), its numbers drawn within the preset's ranges."""
    chosen = name if name is not None else str(rng.choice(LOOKS, p=[0.32, 0.22, 0.24, 0.11, 0.11]))
    p = _PRESETS[chosen]
    return Look(
        name=chosen,
        sun_azimuth_rad=float(rng.uniform(0, 2 * np.pi)),
        sun_elevation_rad=float(rng.uniform(*p.elevation_rad)),
        sun=tinted(rng, float(rng.uniform(*p.sun)), p.sun_tint),
        ambient=tinted(rng, float(rng.uniform(*p.ambient)), p.ambient_tint),
        sky_top=tinted(rng, 1.0, p.top, 0.04),
        sky_horizon=tinted(rng, 1.0, p.horizon, 0.04),
        cloud=float(rng.uniform(*p.cloud)),
        haze_m=float(rng.uniform(*p.haze_m)),
        exposure=float(rng.uniform(*p.exposure)),
        gamma=float(rng.uniform(0.85, 1.15)),
        noise=float(rng.uniform(0.003, 0.02)) * (1.6 if chosen == "dusk" else 1.0),
        shadows=p.shadows,
    )


def sky_faces(look: Look, rng: Rng, size_px: int = 96) -> NDArray[np.uint8]:
    """Sky for a cube map: (6 * size_px, size_px, 3) uint8, faces right, left, up, down, front, back (y is up)."""
    axis = (np.arange(size_px) + 0.5) / size_px * 2 - 1
    u, v = np.meshgrid(axis, -axis)
    one = np.ones_like(u)
    faces = [(one, v, -u), (-one, v, u), (u, one, -v), (u, -one, v), (u, v, one), (-u, v, -one)]
    clouds = sum(noise(rng, cells, 192) * weight for cells, weight in ((3, 1.0), (6, 0.6), (12, 0.4), (24, 0.25)))
    clouds = np.asarray(clouds) / 2.25
    pictures = []
    for x, y, z in faces:
        direction = np.stack([x, y, z], -1)
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        up = np.clip(direction[..., 1], 0, 1)
        blend = (1 - up) ** 3
        colour = (1 - blend[..., None]) * np.array(look.sky_top) + blend[..., None] * np.array(look.sky_horizon)
        row = ((direction[..., 0] / (up + 0.25) * 0.25 + 0.5) * 191).astype(int) % 192
        column = ((direction[..., 2] / (up + 0.25) * 0.25 + 0.5) * 191).astype(int) % 192
        cover = np.clip((clouds[row, column] - 0.48) * 6, 0, 1) * look.cloud * np.clip(up * 5, 0, 1)
        white = np.clip(0.9 * np.array(look.sky_horizon) + 0.12, 0, 1)
        colour = colour * (1 - cover[..., None]) + cover[..., None] * white
        pictures.append(np.clip(colour, 0, 1))
    return np.ascontiguousarray((np.concatenate(pictures) * 255).astype(np.uint8))


@dataclass(frozen=True)
class Response:
    """How one camera renders light: drawn for each picture of a data set, once for a drive."""

    balance: Colour
    gain: float
    blur: float
    vignette: float


def draw_response(rng: Rng) -> Response:
    """A camera's response at random."""
    red, green, blue = 1 + rng.normal(0, 0.025, 3)
    gain, blur, vignette = rng.uniform(0.9, 1.1), rng.uniform(0, 0.7), rng.uniform(0, 0.22)
    return Response((float(red), float(green), float(blue)), float(gain), float(blur), float(vignette))


def expose(rgb: NDArray[np.uint8], look: Look, response: Response, rng: Rng) -> NDArray[np.uint8]:
    """What the camera makes of a rendered (H, W, 3) picture: exposure, gamma, white balance, blur, vignette, noise."""
    height, width = rgb.shape[:2]
    values = (rgb.astype(np.float32) / 255) ** look.gamma * (look.exposure * response.gain)
    values *= np.array(response.balance, np.float32)
    sigma = response.blur * width / 512
    if sigma > 0.25:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    values *= (1 - response.vignette * (x**2 + y**2) / 2).astype(np.float32)[..., None]
    values += look.noise * rng.standard_normal((height, width, 3), dtype=np.float32)
    return np.asarray(np.clip(values, 0, 1) * 255 + 0.5, dtype=np.uint8)
