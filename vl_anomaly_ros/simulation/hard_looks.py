# SPDX-License-Identifier: Apache-2.0
"""Light and weather of the hard world: what makes a picture of a plain road difficult."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .looks import tinted
from .scene import Colour, Look

Rng = np.random.Generator
Range = tuple[float, float]


@dataclass(frozen=True)
class _Weather:
    """Ranges that a look is drawn from; see `scene.Look` for what they mean."""

    share: float
    elevation_rad: Range
    sun: Range
    sun_tint: Colour
    ambient: Range
    ambient_tint: Colour
    top: Colour
    horizon: Colour
    cloud: Range
    exposure: Range
    noise: Range
    shadows: bool
    wetness: Range = (0.0, 0.0)
    fog_m: Range | None = None
    glare: Range = (0.0, 0.0)
    lamps: Range = (1.0, 1.0)


_WARM: Colour = (1.0, 0.84, 0.62)
_BLUE: Colour = (0.82, 0.92, 1.2)
_GREY: Colour = (0.97, 1.0, 1.03)
_WEATHERS: dict[str, _Weather] = {
    "noon": _Weather(0.14, (0.8, 1.25), (0.75, 0.95), (1.0, 0.98, 0.93), (0.32, 0.46), (0.92, 0.98, 1.08),
                     (0.25, 0.45, 0.8), (0.72, 0.82, 0.92), (0.0, 0.8), (0.95, 1.2), (0.003, 0.012), True),
    "low sun": _Weather(0.14, (0.2, 0.45), (0.85, 1.0), _WARM, (0.18, 0.28), (0.88, 0.95, 1.15),
                        (0.35, 0.48, 0.72), (0.95, 0.82, 0.62), (0.0, 0.8), (1.4, 1.9), (0.003, 0.014), True),
    "glare": _Weather(0.12, (0.14, 0.26), (0.85, 1.0), (1.0, 0.8, 0.55), (0.14, 0.22), (0.9, 0.95, 1.1),
                      (0.45, 0.52, 0.68), (1.0, 0.86, 0.6), (0.0, 0.5), (1.2, 1.6), (0.004, 0.014), True,
                      glare=(0.55, 1.0)),
    "overcast": _Weather(0.12, (0.9, 1.4), (0.12, 0.25), _GREY, (0.6, 0.78), _GREY, (0.6, 0.64, 0.69),
                         (0.8, 0.82, 0.84), (0.3, 1.0), (0.9, 1.15), (0.004, 0.014), False),
    "dusk": _Weather(0.13, (0.05, 0.15), (0.0, 0.05), (1.0, 0.7, 0.5), (0.13, 0.24), _BLUE, (0.07, 0.1, 0.24),
                     (0.42, 0.3, 0.32), (0.0, 0.8), (1.0, 1.35), (0.012, 0.035), False, lamps=(2.4, 3.2)),
    "fog": _Weather(0.13, (0.6, 1.2), (0.1, 0.2), _GREY, (0.62, 0.76), _GREY, (0.74, 0.76, 0.78),
                    (0.8, 0.81, 0.82), (0.0, 0.2), (0.85, 1.05), (0.004, 0.014), False, fog_m=(45, 180),
                    lamps=(1.5, 2.0)),
    "rain": _Weather(0.14, (0.7, 1.3), (0.05, 0.15), _GREY, (0.5, 0.66), (0.94, 1.0, 1.06), (0.45, 0.49, 0.55),
                     (0.7, 0.73, 0.77), (0.5, 1.0), (0.9, 1.15), (0.006, 0.02), False, wetness=(0.45, 1.0),
                     fog_m=(250, 700), lamps=(1.4, 2.0)),
    "wet dusk": _Weather(0.08, (0.05, 0.15), (0.0, 0.03), (1.0, 0.7, 0.5), (0.14, 0.24), _BLUE, (0.1, 0.12, 0.22),
                         (0.36, 0.32, 0.38), (0.4, 1.0), (1.0, 1.35), (0.012, 0.035), False, wetness=(0.5, 1.0),
                         fog_m=(200, 600), lamps=(2.4, 3.2)),
}  # fmt: skip

HARD_LOOKS: tuple[str, ...] = tuple(_WEATHERS)
"""Names of the looks of the hard world."""
_CLEAR_M = 6000.0


def make_hard_look(rng: Rng, name: str, heading_rad: float) -> Look:
    """A look of the hard world.

    Args:
        rng: draws the numbers within the ranges of the look.
        name: one of `HARD_LOOKS`.
        heading_rad: of the road; a sun that dazzles stands within 20 degrees of it.
    """
    w = _WEATHERS[name]
    ahead = heading_rad + float(rng.uniform(-0.35, 0.35))
    anywhere = float(rng.uniform(0, 2 * np.pi))
    return Look(
        name=name,
        sun_azimuth_rad=ahead if w.glare[1] > 0 else anywhere,
        sun_elevation_rad=float(rng.uniform(*w.elevation_rad)),
        sun=tinted(rng, float(rng.uniform(*w.sun)), w.sun_tint),
        ambient=tinted(rng, float(rng.uniform(*w.ambient)), w.ambient_tint),
        sky_top=tinted(rng, 1.0, w.top, 0.03),
        sky_horizon=tinted(rng, 1.0, w.horizon, 0.03),
        cloud=float(rng.uniform(*w.cloud)),
        haze_m=_CLEAR_M,  # fog is laid over the finished picture, by true depth
        exposure=float(rng.uniform(*w.exposure)),
        gamma=float(rng.uniform(0.85, 1.15)),
        noise=float(rng.uniform(*w.noise)),
        shadows=w.shadows,
        wetness=float(rng.uniform(*w.wetness)),
        fog_m=float(rng.uniform(*w.fog_m)) if w.fog_m else float("inf"),
        glare=float(rng.uniform(*w.glare)),
        lamps=float(rng.uniform(*w.lamps)),
    )


def draw_hard_look(rng: Rng) -> str:
    """Name of a look, each with its share."""
    shares = np.array([w.share for w in _WEATHERS.values()])
    return HARD_LOOKS[int(rng.choice(len(HARD_LOOKS), p=shares / shares.sum()))]
