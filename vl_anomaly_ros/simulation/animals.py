# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF005 (offsets are added to arrays here; no lists are joined)
"""Shapes of animals: four-legged ones from a table of proportions, and a few others."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .meshes import Mesh, blob, combine, limb, loft
from .road_things import pick
from .scene import Colour, Part, Shape, make_shape

Rng = np.random.Generator


@dataclass(frozen=True)
class Quadruped:
    """Proportions of a four-legged animal of shoulder height 1 (all lengths relative to it)."""

    length: float
    girth: float
    legs: float
    leg_radius: float
    neck: float
    neck_angle_rad: float
    head: float
    snout: float
    ear: float
    tail: float
    horns: str
    texture: str
    colours: tuple[Colour, ...]


_BROWN: tuple[Colour, ...] = ((0.45, 0.3, 0.18), (0.6, 0.42, 0.25), (0.3, 0.2, 0.13))
_KINDS: dict[str, Quadruped] = {
    "dog": Quadruped(1.1, 0.2, 0.55, 0.055, 0.35, 0.8, 0.17, 0.2, 0.15, 0.5, "none", "fur",
                     (*_BROWN, (0.1, 0.09, 0.08), (0.85, 0.78, 0.66), (0.75, 0.55, 0.3))),
    "deer": Quadruped(1.05, 0.19, 0.6, 0.04, 0.6, 1.0, 0.12, 0.2, 0.17, 0.12, "antlers", "fur",
                      ((0.55, 0.36, 0.2), (0.48, 0.33, 0.2), (0.62, 0.45, 0.3))),
    "cow": Quadruped(1.35, 0.3, 0.45, 0.065, 0.4, 0.35, 0.17, 0.25, 0.14, 0.55, "horns", "spots",
                     ((0.95, 0.93, 0.9), (0.9, 0.8, 0.7), (0.75, 0.5, 0.32))),
    "sheep": Quadruped(1.2, 0.36, 0.4, 0.05, 0.3, 0.6, 0.15, 0.16, 0.14, 0.15, "none", "wool",
                       ((0.93, 0.9, 0.82), (0.85, 0.8, 0.7), (0.7, 0.65, 0.58))),
    "horse": Quadruped(1.2, 0.22, 0.56, 0.05, 0.62, 0.85, 0.13, 0.3, 0.1, 0.6, "mane", "fur",
                       ((0.4, 0.24, 0.13), (0.14, 0.11, 0.1), (0.85, 0.83, 0.8), (0.65, 0.45, 0.25))),
    "wild boar": Quadruped(1.45, 0.35, 0.36, 0.05, 0.28, 0.05, 0.22, 0.38, 0.13, 0.25, "tusks", "fur",
                           ((0.2, 0.16, 0.13), (0.28, 0.22, 0.17), (0.14, 0.12, 0.11))),
}  # fmt: skip


def _horns(kind: str, rng: Rng, head: np.ndarray) -> list[Part]:
    if kind == "antlers" and rng.random() < 0.7:
        tines: list[Mesh] = []
        for side in (-1, 1):
            points = [head + np.array([0.0, side * 0.04, 0.08]) + np.array(o) * [1, side, 1] for o in
                      ((0, 0, 0), (-0.1, 0.12, 0.18), (-0.06, 0.2, 0.38), (0.06, 0.22, 0.5))]  # fmt: skip
            tines += [limb(a, b, 0.022, 0.016, points=5) for a, b in pairwise(points)]
            tines += [limb(p, p + np.array([0.16, 0.02 * side, 0.12]), 0.016, 0.006, points=5) for p in points[1:3]]
        return [Part(combine(tines), "bark", (0.75, 0.66, 0.52))]
    if kind == "horns" and rng.random() < 0.7:
        pair = [
            limb(head + [-0.04, s * 0.08, 0.1], head + [0.02, s * 0.26, 0.24], 0.03, 0.008, points=6) for s in (-1, 1)
        ]
        return [Part(combine(pair), "plain", (0.85, 0.8, 0.7))]
    if kind == "tusks":
        pair = [
            limb(head + [0.2, s * 0.07, -0.08], head + [0.3, s * 0.1, 0.04], 0.02, 0.006, points=5) for s in (-1, 1)
        ]
        return [Part(combine(pair), "plain", (0.93, 0.9, 0.8))]
    return []


def quadruped(rng: Rng, kind: str, shoulder_m: float) -> Shape:
    """Four-legged animal of shoulder height `shoulder_m`, mid-step, head up or down."""
    k = _KINDS[kind]
    colour = pick(rng, k.colours, 0.04)
    fat = float(rng.uniform(0.9, 1.2))
    girth, half = k.girth * fat, k.length / 2
    spine = 1.0 - girth
    body = loft(
        [[-half, spine, girth * 0.45, girth * 0.55], [-half * 0.75, spine, girth * 0.85, girth * 0.95],
         [-half * 0.2, spine - 0.02, girth * 0.95, girth], [half * 0.5, spine - 0.01, girth * 0.9, girth * 1.05],
         [half * 0.9, spine + 0.03, girth * 0.6, girth * 0.75]], points=12)  # fmt: skip
    angle = k.neck_angle_rad + float(rng.uniform(-0.35, 0.25))
    if rng.random() < 0.2:
        angle -= 1.3  # grazing or sniffing
    root = np.array([half * 0.8, 0, spine + girth * 0.3])
    head = root + k.neck * np.array([np.cos(angle), 0, np.sin(angle)])
    head[2] = max(head[2], 0.12)
    pitch = float(rng.uniform(0.1, 0.5))
    muzzle = head + k.snout * np.array([np.cos(pitch), 0, -np.sin(pitch)])
    neck = [limb(root, head, girth * 0.7, k.head * 0.75, points=9)]
    skull = [blob((k.head * 1.15, k.head * 0.75, k.head * 0.85), head),
             limb(head, muzzle, k.head * 0.68, k.head * 0.4, points=8)]  # fmt: skip
    ears = [limb(head + [-0.02, s * k.head * 0.5, k.head * 0.5],
                 head + [-0.04, s * (k.head * 0.5 + k.ear * 0.6), k.head * 0.5 + k.ear * float(rng.uniform(-0.2, 0.9))],
                 0.05, 0.015, points=5) for s in (-1, 1)]  # fmt: skip
    tail_root = np.array([-half * 0.95, 0, spine + girth * 0.4])
    tail = [limb(tail_root, tail_root + k.tail * np.array([-0.6, 0, float(rng.uniform(-0.9, 0.6))]), 0.04, 0.02)]
    legs = []
    for x in (-half * 0.75, half * 0.68):
        for side in (-1, 1):
            swing = float(rng.uniform(-0.18, 0.18))
            hip = np.array([x, side * girth * 0.55, spine - girth * 0.4])
            knee = np.array([x + swing, side * girth * 0.5, k.legs * 0.5])
            foot = np.array([x + swing * 1.6 - 0.02, side * girth * 0.5, 0.0])
            legs += [
                limb(hip, knee, k.leg_radius * 2.0, k.leg_radius),
                limb(knee, foot, k.leg_radius, k.leg_radius * 0.9),
            ]
    dark: Colour = (colour[0] * 0.6, colour[1] * 0.6, colour[2] * 0.6)
    limbs = dark if kind in ("sheep", "wild boar") or rng.random() < 0.3 else colour
    face = limbs if kind == "sheep" else colour
    parts = [
        Part(combine([body, *neck]), k.texture, colour),
        Part(combine([*skull, *ears]), "fur" if kind != "cow" else "spots", face),
        Part(combine(legs), "fur", limbs),
        Part(combine(tail), "fur", dark if kind in ("horse", "cow") else colour),
        Part(blob((k.head * 0.3, k.head * 0.3, k.head * 0.25), muzzle), "plain", (0.1, 0.08, 0.08)),
        *_horns(k.horns, rng, head),
    ]
    if k.horns == "mane":
        parts.append(Part(limb(root + [-0.12, 0, girth * 0.5], head + [-0.12, 0, 0.08], 0.07, 0.05), "fur", dark))
    return make_shape(parts, scale=shoulder_m)


def dog(rng: Rng, size_m: float) -> Shape:
    """Dog of shoulder height `size_m`."""
    return quadruped(rng, "dog", size_m)


def deer(rng: Rng, size_m: float) -> Shape:
    """Deer, most with antlers."""
    return quadruped(rng, "deer", size_m)


def cow(rng: Rng, size_m: float) -> Shape:
    """Spotted cow."""
    return quadruped(rng, "cow", size_m)


def sheep(rng: Rng, size_m: float) -> Shape:
    """Woolly sheep with dark legs."""
    return quadruped(rng, "sheep", size_m)


def horse(rng: Rng, size_m: float) -> Shape:
    """Horse with a mane."""
    return quadruped(rng, "horse", size_m)


def wild_boar(rng: Rng, size_m: float) -> Shape:
    """Wild boar with tusks."""
    return quadruped(rng, "wild boar", size_m)


def kangaroo(rng: Rng, size_m: float) -> Shape:
    """Kangaroo of standing height `size_m`."""
    colour = pick(rng, ((0.6, 0.42, 0.28), (0.5, 0.45, 0.38), (0.65, 0.5, 0.35)), 0.04)
    trunk = limb((-0.05, 0, 0.28), (0.1, 0, 0.72), 0.17, 0.08, points=10)
    head = np.array([0.16, 0.0, 0.88])
    neck = limb((0.1, 0, 0.72), head, 0.07, 0.05)
    face = [blob((0.08, 0.055, 0.065), head), limb(head, head + [0.12, 0, -0.03], 0.05, 0.03)]
    ears = [
        limb(head + [-0.02, s * 0.03, 0.04], head + [-0.04, s * 0.06, 0.16], 0.025, 0.01, points=5) for s in (-1, 1)
    ]
    legs, arms = [], []
    for s in (-1, 1):
        legs += [limb((-0.03, s * 0.12, 0.28), (0.12, s * 0.15, 0.22), 0.12, 0.07),
                 limb((0.12, s * 0.15, 0.22), (-0.05, s * 0.14, 0.04), 0.06, 0.035),
                 limb((-0.06, s * 0.14, 0.03), (0.24, s * 0.15, 0.03), 0.035, 0.03)]  # fmt: skip
        arms.append(limb((0.1, s * 0.08, 0.64), (0.22, s * 0.08, 0.48), 0.03, 0.02))
    tail = [limb((-0.12, 0, 0.24), (-0.45, 0, 0.06), 0.09, 0.05), limb((-0.45, 0, 0.06), (-0.8, 0, 0.05), 0.05, 0.02)]
    belly = limb((0.05, 0, 0.3), (0.14, 0, 0.66), 0.13, 0.05)
    pale: Colour = (min(colour[0] * 1.35, 1), min(colour[1] * 1.35, 1), min(colour[2] * 1.35, 1))
    parts = [Part(combine([trunk, neck, *face, *ears, *legs, *arms, *tail]), "fur", colour), Part(belly, "fur", pale)]
    return make_shape(parts, scale=size_m)


def goose(rng: Rng, size_m: float) -> Shape:
    """Large bird on its feet, of height `size_m`."""
    colour = pick(rng, ((0.95, 0.94, 0.9), (0.5, 0.45, 0.4), (0.35, 0.35, 0.38)), 0.03)
    body = blob((0.42, 0.22, 0.24), (0, 0, 0.42), rings=9)
    tail = limb((-0.3, 0, 0.45), (-0.58, 0, 0.55), 0.14, 0.05)
    wings = [blob((0.34, 0.06, 0.17), (-0.06, s * 0.2, 0.46)) for s in (-1, 1)]
    bend = float(rng.uniform(0.25, 0.45))
    neck = [limb((0.28, 0, 0.5), (bend, 0, 0.75), 0.1, 0.06), limb((bend, 0, 0.75), (0.42, 0, 0.93), 0.06, 0.05)]
    head = blob((0.1, 0.06, 0.07), (0.45, 0, 0.94))
    beak = limb((0.5, 0, 0.93), (0.66, 0, 0.9), 0.04, 0.015)
    legs = [limb((0, s * 0.09, 0.25), (0.0, s * 0.1, 0.0), 0.02, 0.02) for s in (-1, 1)]
    dark: Colour = (colour[0] * 0.6, colour[1] * 0.6, colour[2] * 0.6)
    parts = [
        Part(combine([body, tail]), "fur", colour),
        Part(combine(wings), "fur", dark),
        Part(combine([*neck, head]), "fur", colour if rng.random() < 0.5 else (0.08, 0.08, 0.08)),
        Part(combine([beak, *legs]), "plain", (0.92, 0.5, 0.1)),
    ]
    return make_shape(parts, scale=size_m)


def tortoise(rng: Rng, size_m: float) -> Shape:
    """Tortoise of length `size_m`."""
    shell = blob((0.42, 0.34, 0.3), (0, 0, 0.18), rng=rng, roughness=0.03, rings=9, points=12)
    limbs = [blob((0.12, 0.07, 0.1), (x, s * 0.28, 0.08)) for x in (-0.28, 0.28) for s in (-1, 1)]
    head = [limb((0.38, 0, 0.15), (0.52, 0, 0.26), 0.07, 0.06), blob((0.1, 0.07, 0.07), (0.54, 0, 0.27))]
    parts = [Part(shell, "rock", pick(rng, ((0.45, 0.36, 0.16), (0.3, 0.34, 0.16)))),
             Part(combine([*limbs, *head]), "rock", (0.5, 0.48, 0.3))]  # fmt: skip
    return make_shape(parts, scale=size_m)
