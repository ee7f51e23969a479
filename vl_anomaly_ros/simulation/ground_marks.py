# SPDX-License-Identifier: Apache-2.0
"""Paints what lies on a road: stains, puddles, covers, patches, rails, wear, skids, leaves, seams, soft shadows."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from .ground import STEP_M, FloatImage, GroundMap, kind_index
from .scene import Colour, Scene
from .textures import noise

Rng = np.random.Generator

_NOISE_PX = 512


def _fields(rng: Rng) -> FloatImage:
    """Tileable noise in about 0..1, (512, 512)."""
    parts = [w * noise(rng, cells, _NOISE_PX) for cells, w in ((8, 0.5), (16, 0.3), (32, 0.2), (64, 0.15))]
    return np.asarray(sum(parts) / np.float32(1.15), np.float32)


class _Painter:
    """One road to paint on, with its noise and its random numbers."""

    def __init__(self, rng: Rng, scene: Scene, ground: GroundMap) -> None:
        self.rng, self.scene, self.ground = rng, scene, ground
        self.field = _fields(rng)
        self.length_m = float(scene.line.s_m[-1])

    def spot(self) -> tuple[float, float]:
        """Any point of the road, s and d, metres."""
        return (float(self.rng.uniform(3, self.length_m - 3)),
                float(self.rng.uniform(self.ground.low_m + 0.4, self.ground.high_m - 0.4)))  # fmt: skip

    def grain(self, shape: tuple[int, int]) -> FloatImage:
        """A piece of the noise of that shape."""
        r, c = (int(self.rng.integers(_NOISE_PX)) for _ in range(2))
        rows, columns = (np.arange(start, start + n) % _NOISE_PX for start, n in zip((r, c), shape, strict=True))
        return np.asarray(self.field[np.ix_(rows, columns)])

    def blob(
        self, s: float, d: float, a: float, b: float, *, rough: float, soft: float
    ) -> tuple[tuple[slice, slice], FloatImage]:
        """Slices and alpha of a ragged spot of half axes `a` along and `b` across."""
        at, ds, dd = self.ground.window(s, d, 1.5 * a, 1.5 * b)
        radius = np.sqrt((ds / a) ** 2 + (dd / b) ** 2)
        edge = 1 - radius + rough * (self.grain((ds.shape[0], dd.shape[1])) - np.float32(0.5))
        return at, np.clip(edge / soft, 0, 1).astype(np.float32)


def _base(scene: Scene) -> Colour:
    part = scene.objects[0].shape.parts[0]
    mean = float(scene.textures[part.texture].mean()) / 255
    red, green, blue = (max(channel * mean, 0.05) for channel in part.colour)
    return red, green, blue


def _oil_stain(p: _Painter) -> None:
    s, d = p.spot()
    dark = float(p.rng.uniform(0.25, 0.6))
    for _ in range(int(p.rng.integers(1, 6))):
        size = float(p.rng.uniform(0.08, 0.7))
        at, alpha = p.blob(s, d, size * float(p.rng.uniform(0.8, 1.8)), size, rough=1.4, soft=0.4)
        p.ground.blend(at, alpha * 0.9, (dark, dark, dark * 1.06), "oil stain")
        s, d = s + float(p.rng.normal(0, 0.9)), d + float(p.rng.normal(0, 0.3))


def _puddle(p: _Painter) -> None:
    s, d = p.spot()
    if p.rng.random() < 0.5:  # water gathers at the kerb
        d = float(p.rng.choice([p.ground.low_m + 0.5, p.ground.high_m - 0.5]))
    long, wide = float(p.rng.uniform(0.5, 3.0)), float(p.rng.uniform(0.3, 1.3))
    at, alpha = p.blob(s, d, long, wide, rough=1.6, soft=0.12)
    p.ground.blend(at, alpha, (0.62, 0.62, 0.62), "puddle")
    p.ground.water[at] = np.maximum(p.ground.water[at], (255 * alpha).astype(np.uint8))


def _manhole(p: _Painter) -> None:
    s, d = p.spot()
    if p.rng.random() < 0.3:  # drain at the edge
        d = float(p.rng.choice([p.ground.low_m + 0.35, p.ground.high_m - 0.35]))
        at, ds, dd = p.ground.window(s, d, 0.27, 0.24)
        slots = np.where(np.mod(ds, 0.09) < 0.045, np.float32(1), np.float32(0.25)) + 0 * dd
        p.ground.blend(at, np.asarray(slots, np.float32), (0.25, 0.25, 0.26), "manhole")
        p.ground.kind[at] = kind_index("manhole")
        return
    r = float(p.rng.uniform(0.28, 0.42))
    at, ds, dd = p.ground.window(s, d, r + 0.1, r + 0.1)
    radius = np.sqrt(ds**2 + dd**2)
    disc = np.clip((r + 0.07 - radius) / np.float32(0.03), 0, 1).astype(np.float32)
    shade = float(p.rng.uniform(0.4, 0.85))
    p.ground.blend(at, disc, (shade, shade, shade), "manhole")
    rim = np.clip(1 - np.abs(radius - r) / np.float32(0.035), 0, 1)
    knobs = ((np.mod(ds, 0.14) < 0.06) & (np.mod(dd, 0.14) < 0.06) & (radius < r - 0.05)).astype(np.float32)
    p.ground.blend(at, np.maximum(rim, 0.5 * knobs).astype(np.float32), (0.4, 0.4, 0.42), "manhole")


def _repair_patch(p: _Painter) -> None:
    s, d = p.spot()
    long, wide = (
        float(p.rng.choice([0.5, 1.0, 3.0, 9.0])) * float(p.rng.uniform(0.6, 1.3)),
        float(p.rng.uniform(0.3, 1.6)),
    )
    at, ds, dd = p.ground.window(s, d, long + 0.1, wide + 0.1)
    skew = float(p.rng.normal(0, 0.04))
    inside = np.minimum(long - np.abs(ds), wide - np.abs(dd + skew * ds))
    area = np.clip(inside / np.float32(0.03), 0, 1).astype(np.float32)
    shade = float(p.rng.choice([p.rng.uniform(0.5, 0.8), p.rng.uniform(1.12, 1.32)]))
    p.ground.blend(at, area, (shade, shade, shade * float(p.rng.uniform(0.95, 1.03))), "repair patch")
    if p.rng.random() < 0.6:
        edge = np.clip(1 - np.abs(inside - 0.03) / np.float32(0.045), 0, 1).astype(np.float32)
        p.ground.blend(at, edge * 0.8, (0.4, 0.4, 0.4), "repair patch")


def _tram_rails(p: _Painter) -> None:
    """One or two tracks over the whole length, 1.435 m gauge, now and then in a bed of their own."""
    lane = p.scene.section.lane_m
    bed = float(p.rng.uniform(0.75, 1.3)) if p.rng.random() < 0.5 else 1.0
    for middle in (-0.5 * lane, 0.5 * lane):
        at, ds, dd = p.ground.window(p.length_m / 2, middle, p.length_m, 1.3)
        full = np.ones_like(ds) + 0 * dd
        if bed != 1.0:
            p.ground.tint[at] = np.clip(p.ground.tint[at] * bed, 0, 255).astype(np.uint8)
        for rail in (-0.7175, 0.7175):
            head = np.clip((0.045 - np.abs(dd - rail)) / np.float32(0.02) + 0.5, 0, 1) * full
            p.ground.blend(at, np.asarray(head, np.float32), (1.5, 1.52, 1.56), "tram rail")
            side = -0.075 if rail > 0 else 0.075
            groove = np.clip((0.03 - np.abs(dd - rail - side)) / np.float32(0.02) + 0.5, 0, 1) * full
            p.ground.blend(at, np.asarray(groove, np.float32), (0.25, 0.25, 0.25), "tram rail")


def _worn_marking(p: _Painter) -> None:
    """Markings rubbed off over some length; beside them now and then the ghost of an older one."""
    s = float(p.rng.uniform(0, p.length_m))
    reach = float(p.rng.uniform(4, 25))
    at, ds, dd = p.ground.window(s, (p.ground.low_m + p.ground.high_m) / 2, reach, 20.0)
    fade = np.clip((1 - np.abs(ds) / reach) * 3, 0, 1)
    level = float(p.rng.uniform(0.3, 0.6))
    gone = np.clip((p.grain((ds.shape[0], dd.shape[1])) - level) * 6 + 0.3, 0, 1) * fade
    p.ground.wear[at] = np.maximum(p.ground.wear[at], (255 * gone).astype(np.uint8))
    if p.rng.random() < 0.5:
        d = p.spot()[1]
        at, ds, dd = p.ground.window(s, d, reach, 0.5)
        middle = float(p.rng.normal(0, 0.01)) * ds
        line = np.clip((0.07 - np.abs(dd - middle)) / np.float32(0.02) + 0.5, 0, 1).astype(np.float32)
        shade = float(p.rng.choice([0.72, 1.35]))
        p.ground.blend(at, line * np.float32(0.8), (shade, shade, shade), "worn marking")


def _skid_mark(p: _Painter) -> None:
    s, d = p.spot()
    reach, bend = float(p.rng.uniform(3, 16)), float(p.rng.normal(0, 0.006))
    at, ds, dd = p.ground.window(s, d, reach, 3.0)
    middle = bend * ds**2 + float(p.rng.normal(0, 0.02)) * ds
    strength = np.clip(1.1 * (1 - np.abs(ds / reach)) + 0.15, 0, 0.85)
    for track in (-0.75, 0.75) if p.rng.random() < 0.75 else (0.0,):
        tread = np.clip((0.11 - np.abs(dd - middle - track)) / np.float32(0.05) + 0.5, 0, 1) * strength
        p.ground.blend(at, np.asarray(tread, np.float32), (0.38, 0.38, 0.39), "skid mark")


def _leaves(p: _Painter) -> None:
    """A drift of fallen leaves, thickest at the edge of the road."""
    base = _base(p.scene)
    s = float(p.rng.uniform(5, p.length_m - 5))
    side = float(p.rng.choice([-1.0, 1.0]))
    edge = p.ground.high_m if side > 0 else p.ground.low_m
    count = int(p.rng.integers(60, 500))
    reach = float(p.rng.uniform(1.5, 7.0))
    mask = np.zeros(p.ground.kind.shape, np.uint8)
    hue = p.rng.uniform(0, 1)
    along, across = (
        s + p.rng.normal(0, reach, count),
        edge - side * p.rng.exponential(float(p.rng.uniform(0.4, 1.6)), count),
    )
    sizes, turns, tints = p.rng.uniform(0.035, 0.08, count), p.rng.uniform(0, 180, count), p.rng.normal(0, 0.1, count)
    low, high = int(max((s - 4 * reach) / STEP_M[0], 0)), int((s + 4 * reach) / STEP_M[0])
    for i in range(count):
        at = (round((across[i] - p.ground.low_m) / STEP_M[1]), round(along[i] / STEP_M[0]))
        axes = (max(round(sizes[i] / STEP_M[1]), 1), max(round(0.6 * sizes[i] / STEP_M[0]), 1))
        leaf = np.clip(np.array([0.62, 0.36 + 0.25 * hue, 0.12]) + tints[i], 0.05, 1.0) / base
        cv2.ellipse(p.ground.tint, at, axes, float(turns[i]), 0, 360, np.clip(128 * leaf, 0, 255).tolist(), -1)
        cv2.ellipse(mask, at, axes, float(turns[i]), 0, 360, 255, -1)
    part = np.asarray(cv2.dilate(mask[low:high], np.ones((3, 3), np.uint8)))
    p.ground.kind[low:high][part > 0] = kind_index("leaves")


def _tar_seam(p: _Painter) -> None:
    s, d = p.spot()
    count = int(p.rng.integers(6, 30))
    heading = 0.0 if p.rng.random() < 0.6 else np.pi / 2
    angles = heading + p.rng.normal(0, 0.35, count)
    steps = p.rng.uniform(0.15, 0.5, count)
    rows = (s + np.cumsum(steps * np.cos(angles))) / STEP_M[0]
    columns = (d + np.cumsum(steps * np.sin(angles)) - p.ground.low_m) / STEP_M[1]
    path = np.stack([columns, rows], 1).round().astype(np.int32)
    path[:, 0] = np.clip(path[:, 0], 0, p.ground.kind.shape[1] - 1)
    low, high = max(int(path[:, 1].min()) - 4, 0), max(int(path[:, 1].max()) + 5, 1)
    mask = np.zeros_like(p.ground.kind[low:high])
    if mask.size == 0:
        return
    cv2.polylines(mask, [path - [0, low]], isClosed=False, color=255, thickness=int(p.rng.integers(2, 5)))
    dark = float(p.rng.uniform(0.3, 0.6))
    p.ground.blend(
        (slice(low, high), slice(None)), mask.astype(np.float32) / np.float32(255), (dark, dark, dark), "tar seam"
    )


def _soft_shadow(p: _Painter) -> None:
    """Shadow of a crown, a mast or a wire that may stand out of view."""
    s, d = p.spot()
    look = p.scene.look
    which = p.rng.random()
    if which < 0.5:
        length = 3.0 / max(np.tan(look.sun_elevation_rad), 0.2)
        at, alpha = p.blob(s, d, float(p.rng.uniform(1.5, 4)) + 0.3 * length, float(p.rng.uniform(1.5, 5)),
                           rough=1.2, soft=0.35)  # fmt: skip
        holes = np.clip((p.grain((alpha.shape[0], alpha.shape[1])) - float(p.rng.uniform(0.35, 0.5))) * 8 + 0.5, 0, 1)
        alpha = np.asarray(alpha * holes, np.float32)
    else:
        azimuth = look.sun_azimuth_rad - float(p.scene.line.heading(s))
        at, ds, dd = p.ground.window(s, d, 14.0, 20.0)
        distance = np.abs(ds * np.sin(azimuth) - dd * np.cos(azimuth))
        half = float(p.rng.choice([0.03, 0.09, 0.22]))
        alpha = np.clip((half - distance) / np.float32(0.04) + 0.5, 0, 1).astype(np.float32)
        alpha *= (np.abs(ds) < 13).astype(np.float32)
    p.ground.shade[at] = np.maximum(p.ground.shade[at], (255 * alpha).astype(np.uint8))


_MARKS: dict[str, tuple[Callable[[_Painter], None], dict[str, float]]] = {
    # name: painter, mean number on 100 m of road by place
    "repair patch": (_repair_patch, {"city": 6, "suburban": 5, "rural": 4, "motorway": 2, "apron": 3}),
    "tar seam": (_tar_seam, {"city": 6, "suburban": 7, "rural": 8, "motorway": 3, "apron": 5}),
    "manhole": (_manhole, {"city": 7, "suburban": 5, "rural": 0.5, "motorway": 0, "apron": 2}),
    "worn marking": (_worn_marking, {"city": 3, "suburban": 3, "rural": 4, "motorway": 2, "apron": 3}),
    "skid mark": (_skid_mark, {"city": 2, "suburban": 1, "rural": 2, "motorway": 4, "apron": 4}),
    "oil stain": (_oil_stain, {"city": 6, "suburban": 5, "rural": 3, "motorway": 2, "apron": 9}),
    "leaves": (_leaves, {"city": 1.5, "suburban": 4, "rural": 3, "motorway": 0.5, "apron": 0.2}),
}
_TRAM_CHANCE = {"city": 0.45, "suburban": 0.1}
_SHADOWS_PER_100_M = {"city": 7, "suburban": 8, "rural": 8, "motorway": 4, "apron": 2}


def paint_ground(scene: Scene) -> GroundMap:
    """The maps of a scene of the hard world; the same scene gives the same maps."""
    rng = np.random.default_rng([scene.seed, 0x6A0D])
    ground = GroundMap.bare(scene)
    p = _Painter(rng, scene, ground)
    _mottle(p)
    if rng.random() < _TRAM_CHANCE.get(scene.style, 0.0):
        _tram_rails(p)
    for paint, per_100_m in _MARKS.values():
        for _ in range(rng.poisson(per_100_m[scene.style] * p.length_m / 100)):
            paint(p)
    wet = scene.look.wetness
    if wet > 0:
        film = np.clip(wet * (0.25 + 0.75 * _stretched(p, 6.0)), 0, 0.75)
        ground.water[:] = np.maximum(ground.water, (255 * film).astype(np.uint8))
    for _ in range(rng.poisson((9 * wet if wet > 0 else 0.8) * p.length_m / 100)):
        _puddle(p)
    if scene.look.shadows:
        for _ in range(rng.poisson(_SHADOWS_PER_100_M[scene.style] * p.length_m / 100)):
            _soft_shadow(p)
    return ground


def _stretched(p: _Painter, factor: float) -> FloatImage:
    """The noise over the whole road, its bumps `factor` times as large."""
    rows, columns = p.ground.kind.shape
    small = p.grain((int(rows / factor) + 2, int(columns / factor) + 2))
    return np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR))


def _mottle(p: _Painter) -> None:
    """Large stains and polished wheel tracks that every road has; too common to be marked."""
    d = p.ground.low_m + np.arange(p.ground.kind.shape[1], dtype=np.float32) * np.float32(STEP_M[1])
    lane = np.float32(p.scene.section.lane_m)
    track = np.abs(np.abs(np.mod(d, lane) - lane / 2) - np.float32(0.8))
    polish = float(p.rng.uniform(-0.12, 0.16)) * np.exp(-((track / 0.35) ** 2))
    mottle = 1 + float(p.rng.uniform(0.05, 0.3)) * (_stretched(p, 5.0) - np.float32(0.5)) + polish
    p.ground.tint[:] = np.clip(128 * mottle, 40, 220).astype(np.uint8)[..., None]
