# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF005 (offsets are added to arrays here; no lists are joined)
"""Shapes of the known classes that stand still: buildings, poles, signs, lights, trees, bushes."""

from __future__ import annotations

import numpy as np

from .meshes import Mesh, blob, box, combine, flat, lathe, limb
from .road_things import any_colour, jitter, pick
from .scene import Colour, Part, Shape, make_shape

Rng = np.random.Generator

_WALLS: tuple[Colour, ...] = (
    (0.85, 0.8, 0.7), (0.75, 0.72, 0.68), (0.62, 0.38, 0.28), (0.9, 0.88, 0.84), (0.7, 0.6, 0.42), (0.55, 0.56, 0.58),
    (0.8, 0.62, 0.5), (0.6, 0.68, 0.72), (0.42, 0.3, 0.26), (0.82, 0.78, 0.5),
)  # fmt: skip
_LEAVES: tuple[Colour, ...] = (
    (0.22, 0.36, 0.12),
    (0.3, 0.45, 0.15),
    (0.16, 0.28, 0.12),
    (0.45, 0.48, 0.16),
    (0.36, 0.4, 0.22),
    (0.62, 0.42, 0.14),
)


def _gable(length: float, width: float, height: float, base: float) -> Mesh:
    x, y = length / 2, width / 2
    corners = np.array([[-x, -y, base], [x, -y, base], [x, y, base], [-x, y, base], [-x, 0, base + height],
                        [x, 0, base + height]])  # fmt: skip
    faces = np.array([[0, 1, 5], [0, 5, 4], [2, 3, 4], [2, 4, 5], [0, 4, 3], [1, 2, 5]], dtype=np.int32)
    return flat(corners, faces)


def building(rng: Rng, *, urban: bool) -> tuple[str, Shape]:
    """House with a gable, or block with a flat roof; x runs along the street."""
    wall = any_colour(rng, 0.3, 0.95) if rng.random() < 0.15 else pick(rng, _WALLS)
    texture = f"facade{int(rng.integers(4))}"
    if urban:
        size = (float(rng.uniform(9, 22)), float(rng.uniform(8, 14)), float(rng.uniform(7, 22)))
    else:
        size = (float(rng.uniform(7, 14)), float(rng.uniform(6, 10)), float(rng.uniform(3.2, 6.5)))
    shifted = box(size, (0, 0, size[2] / 2))
    parts = [Part(shifted, texture, wall)]
    if not urban or rng.random() < 0.35:
        roof = pick(rng, ((0.55, 0.25, 0.18), (0.3, 0.3, 0.32), (0.42, 0.3, 0.22), (0.25, 0.22, 0.2)))
        parts.append(Part(_gable(size[0] + 0.8, size[1] + 0.8, float(rng.uniform(1.8, 3.5)), size[2]), "roof", roof))
    else:
        parts.append(
            Part(box((size[0] + 0.4, size[1] + 0.4, 0.5), (0, 0, size[2] + 0.2)), "concrete", jitter(rng, wall))
        )
    if rng.random() < 0.6:  # ground floor in another material, with a door or shop windows
        base = float(rng.uniform(0.5, 3.0)) if urban else 0.5
        material = str(rng.choice(["concrete", "brick", "plain"]))
        parts.append(
            Part(box((size[0] + 0.1, size[1] + 0.1, base), (0, 0, base / 2)), material, any_colour(rng, 0.2, 0.8))
        )
    door = [box((1.1, size[1] + 0.24, 2.1), (float(rng.uniform(-0.4, 0.4)) * size[0], 0, 1.05))]
    parts.append(Part(combine(door), "wood", any_colour(rng, 0.1, 0.7)))
    return ("building" if urban else "house"), make_shape(parts)


def pole(rng: Rng) -> tuple[str, Shape]:
    """Street lamp, telegraph pole or bollard."""
    kind = str(rng.choice(["street lamp", "utility pole", "bollard"], p=[0.55, 0.25, 0.2]))
    grey = pick(rng, ((0.45, 0.47, 0.48), (0.2, 0.25, 0.22), (0.65, 0.66, 0.66)))
    if kind == "bollard":
        height = float(rng.uniform(0.7, 1.1))
        return kind, make_shape(
            [Part(limb((0, 0, 0), (0, 0, height), 0.08, 0.07), "plain", pick(rng, (grey, (0.1, 0.1, 0.1))))]
        )
    height = float(rng.uniform(5, 9))
    if kind == "utility pole":
        cross = [box((0.1, 1.8, 0.12), (0, 0, height - 0.5))]
        return kind, make_shape([Part(combine([limb((0, 0, 0), (0, 0, height), 0.15, 0.11), *cross]), "bark",
                                      jitter(rng, (0.5, 0.38, 0.28)))])  # fmt: skip
    arm = float(rng.uniform(0.8, 2.2))
    mast = [limb((0, 0, 0), (0, 0, height), 0.1, 0.06), limb((0, 0, height), (0, arm, height + 0.15), 0.05, 0.04),
            box((0.28, 0.7, 0.14), (0, arm + 0.2, height + 0.14))]  # fmt: skip
    return kind, make_shape([Part(combine(mast), "metal", grey)])


def traffic_sign(rng: Rng) -> list[tuple[str, str, Shape]]:
    """Sign or light on its pole, as (class name, variant, shape) pieces that share one foot; the face looks to -x."""
    height = float(rng.uniform(2.1, 3.0))
    mast = make_shape([Part(limb((0.0, 0, 0), (0.0, 0, height), 0.04, 0.04), "metal", (0.55, 0.56, 0.57))])
    kind = str(rng.choice(["round", "triangle", "square", "octagon", "board", "light"]))
    red, blue, white = (0.8, 0.06, 0.06), (0.05, 0.2, 0.7), (0.95, 0.95, 0.95)
    parts: list[Part] = []
    at = np.array([-0.08, 0.0, height - 0.05])
    if kind == "light":
        parts.append(Part(box((0.25, 0.32, 0.95), at + [0, 0, 0.2]), "plain", (0.08, 0.09, 0.08)))
        for offset, colour in ((0.5, (1.0, 0.12, 0.1)), (0.2, (1.0, 0.7, 0.1)), (-0.1, (0.1, 0.9, 0.35))):
            lit = rng.random() < 0.4
            shade: Colour = colour if lit else (colour[0] * 0.3, colour[1] * 0.3, colour[2] * 0.3)
            parts.append(
                Part(blob((0.05, 0.1, 0.1), at + [-0.12, 0, offset]), "plain", shade, glow=0.7 if lit else 0.0)
            )
    elif kind in ("square", "board"):
        size = (0.6, 0.6) if kind == "square" else (float(rng.uniform(1.0, 2.2)), float(rng.uniform(0.6, 1.2)))
        colour = blue if rng.random() < 0.5 else pick(rng, ((0.05, 0.4, 0.2), (0.9, 0.75, 0.1), white))
        parts.append(Part(box((0.03, *size), at), "plain", colour))
        bars = [box((0.05, size[0] * 0.7, size[1] * 0.12), at + [-0.005, 0, z * size[1]]) for z in (-0.2, 0.15)]
        parts.append(Part(combine(bars), "plain", white if max(colour) < 0.85 else (0.1, 0.1, 0.1)))
    else:
        points = {"round": 18, "triangle": 3, "octagon": 8}[kind]
        radius = float(rng.uniform(0.3, 0.45)) * (1.25 if kind == "triangle" else 1.0)
        spin = {"round": 0.0, "triangle": 0.0, "octagon": np.pi / 8}[kind]

        def disc(r: float, depth: float) -> Mesh:
            around = spin + np.arange(points) * 2 * np.pi / points
            ring = np.stack([0 * around, np.sin(around) * r, np.cos(around) * r], 1)
            front = np.concatenate([ring + [-depth, 0, 0], ring + [0.02, 0, 0], [[-depth, 0, 0]], [[0.02, 0, 0]]])
            here, after = np.arange(points), (np.arange(points) + 1) % points
            n = points
            faces = np.concatenate(
                [
                    np.stack([here, after, np.full(n, 2 * n)], 1),
                    np.stack([after + n, here + n, np.full(n, 2 * n + 1)], 1),
                    np.stack([here, here + n, after], 1),
                    np.stack([after, here + n, after + n], 1),
                ]
            )
            return flat(front, faces.astype(np.int32)).moved(at)

        rim = red if kind != "round" or rng.random() < 0.6 else blue
        parts.append(Part(disc(radius, 0.02), "plain", rim))
        if kind != "octagon":
            parts.append(Part(disc(radius * 0.75, 0.03), "plain", white if rim == red else blue))
        parts.append(Part(box((0.02, radius * 0.9, radius * 0.2), at + [-0.04, 0, 0]), "plain",
                          white if rim != red or kind == "octagon" else (0.08, 0.08, 0.08)))  # fmt: skip
    raw_low = min(float(part.mesh.vertices[:, 2].min()) for part in parts)
    plate = make_shape(parts)
    # make_shape stands the plate on the ground: lift it back to where it hangs.
    lifted = tuple(Part(p.mesh.moved((-0.08, 0, raw_low)), p.texture, p.colour, p.shine, p.glow) for p in plate.parts)
    shift = np.array([-0.08, 0, raw_low])
    return [
        ("pole", "sign post", mast),
        ("traffic sign", "traffic light" if kind == "light" else f"{kind} sign",
         Shape(lifted, plate.low_m + shift, plate.high_m + shift)),
    ]  # fmt: skip


def tree(rng: Rng) -> tuple[str, Shape]:
    """Broad-leaved or conifer tree, 3.5 to 11 m."""
    height = float(rng.uniform(3.5, 11))
    leaf = pick(rng, _LEAVES, 0.04)
    bark = jitter(rng, (0.4, 0.3, 0.22), 0.06)
    trunk = float(rng.uniform(0.2, 0.4)) * height
    if rng.random() < 0.3:
        tiers = [lathe([[r * height * 0.2, z * height], [0.02, (z + 0.42) * height]], points=9)
                 for r, z in ((1.0, 0.15), (0.8, 0.35), (0.55, 0.55))]  # fmt: skip
        return "conifer", make_shape([Part(limb((0, 0, 0), (0, 0, 0.3 * height), 0.18, 0.14), "bark", bark),
                                      Part(combine(tiers), "foliage", leaf)])  # fmt: skip
    crown = (height - trunk) / 2
    spread = crown * float(rng.uniform(0.6, 1.05))
    blobs = [blob((spread, spread, crown), (0, 0, trunk + crown), rng=rng, roughness=0.1, rings=8, points=11)]
    for _ in range(int(rng.integers(2, 5))):
        offset = rng.normal(0, 0.5, 3) * [spread, spread, crown]
        size = spread * float(rng.uniform(0.4, 0.7))
        blobs.append(blob((size, size, size), offset + [0, 0, trunk + crown], rng=rng, roughness=0.12))
    stem = [limb((0, 0, 0), (0, 0, trunk + 0.6 * crown), 0.03 * height, 0.018 * height)]
    return "tree", make_shape([Part(combine(stem), "bark", bark), Part(combine(blobs), "foliage", leaf)])


def bush(rng: Rng) -> tuple[str, Shape]:
    """Shrub of 0.5 to 2 m."""
    size = float(rng.uniform(0.4, 1.1))
    blobs = [
        blob((size * rng.uniform(0.6, 1.2), size * rng.uniform(0.6, 1.2), size * rng.uniform(0.5, 1.0)),
             rng.normal(0, 0.45, 3) * [size, size, 0.1] + [0, 0, size * 0.5], rng=rng, roughness=0.12)
        for _ in range(int(rng.integers(2, 5)))
    ]  # fmt: skip
    mesh = combine(blobs)
    low = mesh.vertices[:, 2].min()
    return "bush", make_shape([Part(mesh.moved((0, 0, -low)), "foliage", pick(rng, _LEAVES, 0.03))])
