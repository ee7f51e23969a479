# SPDX-License-Identifier: Apache-2.0
"""Shapes of household goods: furniture, appliances, luggage, things on wheels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .meshes import Mesh, blob, box, combine, lathe, limb, loft, rotation_xyz, sheet
from .road_things import any_colour, jitter, pick, wheel
from .scene import Colour, Part, Shape, make_shape

Rng = np.random.Generator

_WOODS: tuple[Colour, ...] = ((0.72, 0.52, 0.32), (0.5, 0.33, 0.2), (0.85, 0.7, 0.5), (0.35, 0.22, 0.15))
_WHITE: Colour = (0.93, 0.93, 0.9)


def _tipped(rng: Rng, chance: float = 0.35) -> np.ndarray | None:
    """Rotation that lays a thing on its side or back, now and then."""
    if rng.random() > chance:
        return None
    side = float(rng.choice([-1.0, 1.0])) * np.pi / 2
    return rotation_xyz(side, 0, 0) if rng.random() < 0.5 else rotation_xyz(0, side, 0)


def sofa(rng: Rng, size_m: float) -> Shape:
    """Sofa or armchair of width `size_m`; the back is at -x."""
    w, d, seat, back = size_m, float(rng.uniform(0.8, 1.0)), 0.42, float(rng.uniform(0.75, 0.95))
    cushions = max(1, round((w - 0.4) / 0.65))
    step = (w - 0.44) / cushions
    frame = [box((d, w, 0.22), (0, 0, 0.2)), box((0.22, w, back - 0.1), (-d / 2 + 0.11, 0, 0.1 + (back - 0.1) / 2)),
             *(box((d, 0.2, 0.55), (0, s * (w / 2 - 0.1), 0.36)) for s in (-1, 1))]  # fmt: skip
    soft = [
        loft([[-d / 2 + 0.2, seat, step * 0.46, 0.1], [d / 2 - 0.02, seat, step * 0.46, 0.1]], exponent=5)
        .moved((0, (i - (cushions - 1) / 2) * step, 0)) for i in range(cushions)
    ]  # fmt: skip
    soft += [box((0.16, step * 0.92, 0.4), (-d / 2 + 0.28, (i - (cushions - 1) / 2) * step, seat + 0.26),
                 rotation_xyz(0, -0.15)) for i in range(cushions)]  # fmt: skip
    colour = any_colour(rng, 0.12, 0.85)
    feet = [box((0.06, 0.06, 0.1), (sx * (d / 2 - 0.08), sy * (w / 2 - 0.1), 0.05)) for sx in (-1, 1) for sy in (-1, 1)]
    parts = [Part(combine(frame), "fabric", colour), Part(combine(soft), "fabric", jitter(rng, colour, 0.05)),
             Part(combine(feet), "wood", _WOODS[3])]  # fmt: skip
    return make_shape(parts, rotation=_tipped(rng, 0.15))


def chair(rng: Rng, size_m: float) -> Shape:
    """Chair of height `size_m` with slats or a full back."""
    h, seat, w = size_m, 0.48 * size_m, 0.45 * size_m
    half = w / 2
    legs = [
        limb((sx * half * 0.9, sy * half * 0.9, 0), (sx * half * 0.85, sy * half * 0.85, seat), 0.025, 0.025, points=5)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    posts = [limb((-half * 0.85, s * half * 0.85, seat), (-half * 1.05, s * half * 0.85, h), 0.025, 0.022, points=5)
             for s in (-1, 1)]  # fmt: skip
    if rng.random() < 0.5:
        back: list[Mesh] = [box((0.03, w * 0.85, 0.09 * h), (-half * 0.95, 0, z * h)) for z in (0.65, 0.8, 0.94)]
    else:
        back = [box((0.04, w * 0.85, 0.36 * h), (-half * 0.95, 0, 0.8 * h))]
    colour = pick(rng, _WOODS) if rng.random() < 0.6 else any_colour(rng)
    parts = [Part(combine([*legs, *posts, *back]), "wood", colour),
             Part(box((w, w, 0.06), (0, 0, seat)), "fabric" if rng.random() < 0.5 else "wood",
                  any_colour(rng) if rng.random() < 0.5 else colour)]  # fmt: skip
    return make_shape(parts, rotation=_tipped(rng, 0.45))


def table(rng: Rng, size_m: float) -> Shape:
    """Table of length `size_m`, square or round."""
    height, colour = float(rng.uniform(0.65, 0.8)), pick(rng, _WOODS)
    if rng.random() < 0.3:
        r = size_m / 2
        top = lathe([[0.01, height - 0.05], [r, height - 0.05], [r, height], [0.01, height]], points=20)
        stem = [limb((0, 0, 0.05), (0, 0, height), 0.06, 0.05), lathe([[0.3, 0.0], [0.28, 0.05], [0.01, 0.06]])]
        return make_shape([Part(combine([top, *stem]), "wood", colour)], rotation=_tipped(rng))
    w = float(rng.uniform(0.6, 0.9))
    top = box((size_m, w, 0.05), (0, 0, height))
    legs = [box((0.07, 0.07, height), (sx * (size_m / 2 - 0.08), sy * (w / 2 - 0.08), height / 2))
            for sx in (-1, 1) for sy in (-1, 1)]  # fmt: skip
    rails = [box((size_m - 0.2, 0.03, 0.1), (0, s * (w / 2 - 0.08), height - 0.08)) for s in (-1, 1)]
    return make_shape([Part(combine([top, *legs, *rails]), "wood", colour)], rotation=_tipped(rng))


def mattress(rng: Rng, size_m: float) -> Shape:
    """Mattress of length `size_m`, flat or leaning over a bend."""
    w, t = float(rng.uniform(0.8, 1.6)), float(rng.uniform(0.15, 0.26))
    bend = float(rng.uniform(0.0, 0.35)) if rng.random() < 0.5 else 0.0
    xs = np.linspace(-size_m / 2, size_m / 2, 7)
    rise = bend * (2 * np.abs(xs) / size_m) ** 2
    mesh = loft(np.stack([xs, t / 2 + rise, np.full(7, w / 2), np.full(7, t / 2)], 1), points=16, exponent=6)
    piping = [loft(np.stack([xs, z + rise, np.full(7, w / 2 + 0.01), np.full(7, 0.015)], 1), points=8)
              for z in (0.02, t - 0.02)]  # fmt: skip
    parts = [Part(mesh, "fabric", pick(rng, (_WHITE, (0.75, 0.8, 0.88), (0.9, 0.82, 0.72)))),
             Part(combine(piping), "plain", any_colour(rng, 0.3, 0.8))]  # fmt: skip
    return make_shape(parts)


def suitcase(rng: Rng, size_m: float) -> Shape:
    """Suitcase of height `size_m` with handle and wheels, upright or flat."""
    w, t, colour = 0.68 * size_m, 0.36 * size_m, any_colour(rng)
    body = loft([[-t / 2, 0.52 * size_m, w / 2, 0.46 * size_m], [t / 2, 0.52 * size_m, w / 2, 0.46 * size_m]],
                points=16, exponent=7)  # fmt: skip
    ribs = [box((t + 0.02, 0.02, 0.85 * size_m), (0, y * w, 0.52 * size_m)) for y in (-0.3, -0.1, 0.1, 0.3)]
    grip = [limb((-t * 0.3, s * 0.2 * w, 0.95 * size_m), (-t * 0.3, s * 0.2 * w, 1.3 * size_m), 0.012, 0.012, points=5)
            for s in (-1, 1)]  # fmt: skip
    grip.append(limb((-t * 0.3, -0.2 * w, 1.3 * size_m), (-t * 0.3, 0.2 * w, 1.3 * size_m), 0.02, 0.02, points=5))
    rolls = [blob((0.035, 0.025, 0.035), (sx * t * 0.35, sy * w * 0.4, 0.035)) for sx in (-1, 1) for sy in (-1, 1)]
    dark: Colour = (colour[0] * 0.7, colour[1] * 0.7, colour[2] * 0.7)
    parts = [Part(body, "plain", colour, shine=0.4), Part(combine(ribs), "plain", dark),
             Part(combine([*grip, *rolls]), "metal", (0.2, 0.2, 0.22))]  # fmt: skip
    return make_shape(parts, rotation=_tipped(rng))


def bathtub(rng: Rng, size_m: float) -> Shape:
    """Bathtub of length `size_m`; the hollow is a dark inner wall."""
    half, h = size_m / 2, float(rng.uniform(0.5, 0.62))
    rings = []
    around = np.linspace(0, 2 * np.pi, 25)
    for z, grow in ((0.08, 0.75), (0.3, 0.93), (h, 1.0), (h, 0.9), (0.2, 0.72), (0.18, 0.02)):
        x = half * grow * np.sign(np.cos(around)) * np.abs(np.cos(around)) ** 0.6
        y = 0.38 * grow * np.sign(np.sin(around)) * np.abs(np.sin(around)) ** 0.6
        rings.append(np.stack([x, y, np.full(25, z)], 1))
    tub = sheet(np.stack(rings))
    flipped = Mesh(tub.vertices, np.ascontiguousarray(tub.faces[:, ::-1]), tub.uv, -tub.normals)
    feet = [blob((0.05, 0.05, 0.06), (sx * half * 0.65, sy * 0.25, 0.06)) for sx in (-1, 1) for sy in (-1, 1)]
    tap = [limb((half * 0.93, 0, h), (half * 0.93, 0, h + 0.2), 0.025, 0.02),
           limb((half * 0.93, 0, h + 0.2), (half * 0.7, 0, h + 0.17), 0.02, 0.02)]  # fmt: skip
    colour = pick(rng, (_WHITE, _WHITE, (0.75, 0.85, 0.88), (0.9, 0.75, 0.75)), 0.02)
    parts = [Part(flipped, "plain", colour, shine=0.7), Part(combine([*feet, *tap]), "metal", (0.75, 0.72, 0.6), 0.6)]
    return make_shape(parts, rotation=_tipped(rng, 0.2))


def fridge(rng: Rng, size_m: float) -> Shape:
    """Refrigerator of height `size_m`, standing or lying, doors shut or ajar."""
    w, d = 0.62, 0.62
    colour = pick(rng, (_WHITE, (0.7, 0.72, 0.74), (0.12, 0.12, 0.13), (0.75, 0.2, 0.15)), 0.03)
    body = box((d, w, size_m), (0, 0, size_m / 2))
    split = 0.68 * size_m
    lower, upper = (
        box((0.06, w, split - 0.05), (0, w / 2, split / 2)),
        box((0.06, w, size_m - split - 0.03), (0, w / 2, (size_m + split) / 2)),
    )
    ajar = rotation_xyz(0, 0, float(rng.uniform(0.4, 1.5)) if rng.random() < 0.4 else 0.0)
    lower = lower.moved((d / 2 + 0.04, -w / 2, 0), ajar)
    handles = [box((0.04, 0.03, 0.35), (d / 2 + 0.1, 0.22, split + 0.25))]
    parts = [
        Part(body, "metal", colour, 0.3),
        Part(combine([lower, upper.moved((d / 2 + 0.04, -w / 2, 0))]), "plain", colour, 0.4),
        Part(combine(handles), "metal", (0.4, 0.4, 0.42), 0.5),
        Part(box((0.02, w * 0.9, split * 0.85), (d / 2 + 0.015, 0, split / 2)), "plain", (0.85, 0.9, 0.95)),
    ]
    return make_shape(parts, rotation=rotation_xyz(0, -np.pi / 2) if rng.random() < 0.4 else None)


def piano(rng: Rng, size_m: float) -> Shape:
    """Upright piano of width `size_m` with its keys."""
    w, h = size_m, float(rng.uniform(1.1, 1.3))
    colour = pick(rng, ((0.08, 0.07, 0.07), (0.35, 0.2, 0.12), (0.55, 0.35, 0.2), (0.9, 0.9, 0.88)), 0.02)
    case = [
        box((0.4, w, h), (-0.15, 0, h / 2)),
        box((0.6, w, 0.1), (0.05, 0, 0.66)),
        box((0.6, w, 0.12), (0.0, 0, 0.06)),
        *(box((0.08, 0.08, 0.6), (0.3, s * (w / 2 - 0.05), 0.33)) for s in (-1, 1)),
        *(box((0.5, 0.06, 0.22), (0.1, s * (w / 2 - 0.03), 0.74)) for s in (-1, 1)),
        box((0.45, w + 0.06, 0.05), (-0.15, 0, h)),
    ]
    keys = box((0.18, w * 0.9, 0.03), (0.24, 0, 0.73))
    blacks = [box((0.11, w * 0.012, 0.03), (0.2, y, 0.755)) for y in np.linspace(-0.43 * w, 0.43 * w, 25)]
    parts = [Part(combine(case), "wood" if max(colour) > 0.3 else "plain", colour, 0.7), Part(keys, "plain", _WHITE),
             Part(combine(blacks), "plain", (0.04, 0.04, 0.04))]  # fmt: skip
    return make_shape(parts, rotation=_tipped(rng, 0.15))


def stroller(rng: Rng, size_m: float) -> Shape:
    """Pram of height `size_m` with hood, basket and four wheels."""
    colour = any_colour(rng)
    tub = loft([[-0.4, 0.62, 0.16, 0.1], [-0.3, 0.58, 0.22, 0.16], [0.3, 0.58, 0.22, 0.16], [0.42, 0.66, 0.16, 0.09]],
               exponent=3)  # fmt: skip
    hood = blob((0.28, 0.24, 0.26), (-0.18, 0, 0.74), rings=9)
    wheels = [wheel(0.12, 0.05, (x, s * 0.25, 0.12)) for x in (-0.32, 0.34) for s in (-1, 1)]
    bars = []
    for s in (-1, 1):
        bars += [limb((-0.32, s * 0.25, 0.12), (0.2, s * 0.22, 0.55), 0.015, 0.015, points=5),
                 limb((0.34, s * 0.25, 0.12), (-0.2, s * 0.22, 0.55), 0.015, 0.015, points=5),
                 limb((0.1, s * 0.23, 0.5), (0.62, s * 0.23, 1.0), 0.015, 0.015, points=5)]  # fmt: skip
    bars.append(limb((0.62, -0.23, 1.0), (0.62, 0.23, 1.0), 0.022, 0.022, points=6))
    parts = [Part(combine([tub]), "fabric", colour), Part(hood, "fabric", jitter(rng, colour, 0.1)),
             Part(combine(bars), "metal", (0.5, 0.5, 0.52)), Part(combine(t for t, _ in wheels), "plain", (0.08,) * 3),
             Part(combine(r for _, r in wheels), "plain", (0.6,) * 3)]  # fmt: skip
    return make_shape(parts, scale=size_m / 1.02, rotation=_tipped(rng, 0.15))


def shopping_trolley(rng: Rng, size_m: float) -> Shape:
    """Wire trolley of length `size_m`."""
    grey = pick(rng, ((0.75, 0.76, 0.78), (0.6, 0.62, 0.64)), 0.03)
    corners = {"low": (0.3, 0.2, 0.45), "high": (0.48, 0.27, 0.95)}
    wires = []
    for z, t in [(0.45, 0), (0.62, 0.34), (0.78, 0.66), (0.95, 1)]:
        x, y = (corners["low"][i] + t * (corners["high"][i] - corners["low"][i]) for i in (0, 1))
        ring = [(-0.4, -y, z), (x, -y * 0.8, z), (x, y * 0.8, z), (-0.4, y, z), (-0.4, -y, z)]
        wires += [limb(a, b, 0.012, 0.012, points=4) for a, b in pairwise(ring)]
    for t in np.linspace(0, 1, 7):
        for s in (-1, 1):
            low, high = (
                (-0.4 + t * 0.7, s * 0.2 * (1 - 0.2 * t), 0.45),
                (-0.4 + t * 0.88, s * 0.27 * (1 - 0.2 * t), 0.95),
            )
            wires.append(limb(low, high, 0.008, 0.008, points=4))
    floor = [box((0.7, 0.36, 0.01), (-0.05, 0, 0.45)), box((0.75, 0.4, 0.02), (-0.02, 0, 0.2))]
    frame = []
    for s in (-1, 1):
        frame += [limb((-0.4, s * 0.24, 0.1), (-0.42, s * 0.26, 1.0), 0.016, 0.016, points=5),
                  limb((-0.4, s * 0.24, 0.12), (0.42, s * 0.18, 0.12), 0.016, 0.016, points=5)]  # fmt: skip
    wheels = [wheel(0.06, 0.03, (x, s * 0.2, 0.06)) for x in (-0.38, 0.38) for s in (-1, 1)]
    colour = any_colour(rng, 0.1, 0.9)
    parts = [Part(combine([*wires, *frame]), "metal", grey, 0.4), Part(combine(floor), "weave", grey),
             Part(limb((-0.45, -0.28, 1.0), (-0.45, 0.28, 1.0), 0.025, 0.025), "plain", colour),
             Part(combine(t for t, _ in wheels), "plain", (0.1, 0.1, 0.1))]  # fmt: skip
    return make_shape(parts, scale=size_m / 0.95, rotation=_tipped(rng, 0.25))


def toilet(rng: Rng, size_m: float) -> Shape:
    """Toilet bowl with cistern, of height `size_m`."""
    bowl = lathe(
        [[0.12, 0.0], [0.14, 0.12], [0.12, 0.2], [0.22, 0.38], [0.23, 0.42], [0.17, 0.42], [0.13, 0.3], [0.01, 0.24]]
    )
    parts = [Part(combine([bowl.scaled((1.25, 0.9, 1.0)).moved((0.1, 0, 0)), box((0.2, 0.42, 0.36), (-0.25, 0, 0.6)),
                           box((0.23, 0.45, 0.04), (-0.25, 0, 0.8)), box((0.3, 0.2, 0.4), (-0.15, 0, 0.2)),
                           box((0.04, 0.38, 0.42), (-0.12, 0, 0.62), rotation_xyz(0, -0.1))]), "plain",
                  pick(rng, (_WHITE, (0.85, 0.8, 0.7)), 0.02), 0.6)]  # fmt: skip
    return make_shape(parts, scale=size_m / 0.82, rotation=_tipped(rng, 0.25))


def armoire(rng: Rng, size_m: float) -> Shape:
    """Wardrobe or chest of drawers of height `size_m`."""
    w, d, colour = float(rng.uniform(0.7, 1.2)), float(rng.uniform(0.4, 0.6)), pick(rng, _WOODS)
    rows = int(rng.choice([1, 3, 4]))
    gaps = [box((0.02, w * 0.94, 0.015), (d / 2, 0, size_m * (i / rows))) for i in range(1, rows)]
    gaps.append(box((0.02, 0.015, size_m * 0.92), (d / 2, 0, size_m / 2)))
    knobs = [
        blob((0.03, 0.03, 0.03), (d / 2 + 0.02, s * w * 0.12, size_m * (i + 0.5) / rows))
        for s in (-1, 1)
        for i in range(rows)
    ]
    parts = [Part(box((d, w, size_m), (0, 0, size_m / 2)), "wood", colour),
             Part(combine([*gaps, *knobs]), "plain", (0.12, 0.09, 0.06))]  # fmt: skip
    return make_shape(parts, rotation=_tipped(rng, 0.4))
