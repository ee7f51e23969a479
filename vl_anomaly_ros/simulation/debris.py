# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF005 (offsets are added to arrays here; no lists are joined)
"""Shapes of lost loads, building-site goods and litter."""

from __future__ import annotations

import numpy as np

from .meshes import Mesh, blob, box, combine, flat, lathe, limb, loft, rotation_xyz, trapezoids
from .road_things import any_colour, jitter, pick, wheel
from .scene import Colour, Part, Shape, make_shape

Rng = np.random.Generator

_WOODS: tuple[Colour, ...] = ((0.75, 0.58, 0.38), (0.6, 0.45, 0.3), (0.85, 0.72, 0.52))
_FLAT = rotation_xyz(np.pi / 2)


def _rolled(rng: Rng, chance: float = 0.5) -> np.ndarray | None:
    """Lay an upright thing on its side."""
    return _FLAT if rng.random() < chance else None


def tyre(rng: Rng, size_m: float) -> Shape:
    """Tyre of diameter `size_m`, flat or upright, with or without its rim."""
    r, w = size_m / 2, size_m * float(rng.uniform(0.14, 0.2))
    ring = lathe(
        [
            [0.58 * r, -w],
            [0.9 * r, -w],
            [r, -0.6 * w],
            [r, 0.6 * w],
            [0.9 * r, w],
            [0.58 * r, w],
            [0.55 * r, 0],
            [0.58 * r, -w],
        ],
        points=20,
    )
    parts = [Part(ring, "tread", (0.14, 0.14, 0.145))]
    if rng.random() < 0.4:
        parts.append(
            Part(
                lathe([[0.02, -0.5 * w], [0.57 * r, -0.7 * w], [0.57 * r, 0.7 * w], [0.02, 0.5 * w]]),
                "metal",
                (0.6, 0.6, 0.62),
                0.5,
            )
        )
    return make_shape(parts, rotation=_rolled(rng, 0.4))


def cardboard_box(rng: Rng, size_m: float) -> Shape:
    """Cardboard box of length `size_m`, with open or shut flaps; now and then a second one on it."""
    x, y, z = size_m, size_m * float(rng.uniform(0.5, 1.0)), size_m * float(rng.uniform(0.4, 1.0))
    colour = jitter(rng, (0.72, 0.54, 0.35), 0.04)
    meshes = [box((x, y, z), (0, 0, z / 2))]
    if rng.random() < 0.5:
        tilt = float(rng.uniform(0.3, 2.2))
        meshes += [box((x, 0.02, y * 0.45), (0, s * (y / 2 + 0.2 * y * np.cos(tilt)), z + 0.2 * y * np.sin(tilt)),
                       rotation_xyz(s * (tilt - np.pi / 2))) for s in (-1, 1)]  # fmt: skip
    elif rng.random() < 0.3:
        meshes.append(box((0.7 * x, 0.7 * y, 0.6 * z), (0.05, 0.02, 1.3 * z), rotation_xyz(0, 0, 0.4)))
    return make_shape([Part(combine(meshes), "cardboard", colour)])


def ladder(rng: Rng, size_m: float) -> Shape:
    """Ladder of length `size_m` lying flat or on its edge."""
    w = float(rng.uniform(0.38, 0.5))
    rails = [box((size_m, 0.04, 0.08), (0, s * w / 2, 0.04)) for s in (-1, 1)]
    steps = [limb((x, -w / 2, 0.05), (x, w / 2, 0.05), 0.02, 0.02, points=6)
             for x in np.arange(-size_m / 2 + 0.15, size_m / 2, 0.28)]  # fmt: skip
    wooden = rng.random() < 0.4
    colour = pick(rng, _WOODS) if wooden else pick(rng, ((0.78, 0.79, 0.8), (0.85, 0.6, 0.1)))
    return make_shape([Part(combine([*rails, *steps]), "wood" if wooden else "metal", colour, 0.0 if wooden else 0.4)],
                      rotation=_rolled(rng, 0.25))  # fmt: skip


def log(rng: Rng, size_m: float) -> Shape:
    """Tree trunk of length `size_m` lying across its x axis, with stubs of branches."""
    r = float(rng.uniform(0.12, 0.3))
    xs = np.linspace(-size_m / 2, size_m / 2, 6)
    wobble = rng.normal(0, 0.02, 6)
    trunk = loft(np.stack([xs, r + wobble, np.linspace(r, 0.8 * r, 6), np.linspace(r, 0.8 * r, 6)], 1), points=10)
    stubs = [limb((x, 0, r), (x + 0.2, float(rng.uniform(-1, 1)) * 0.6, r + float(rng.uniform(0.1, 0.6))), 0.05, 0.03)
             for x in rng.uniform(-0.4, 0.4, int(rng.integers(0, 4))) * size_m]  # fmt: skip
    ends = [
        limb((s * (size_m / 2), 0, r), (s * (size_m / 2 + 0.01), 0, r), 0.78 * r, 0.78 * r, points=10) for s in (-1, 1)
    ]
    bark = jitter(rng, (0.42, 0.32, 0.24), 0.05)
    return make_shape([Part(combine([trunk, *stubs]), "bark", bark), Part(combine(ends), "wood", (0.85, 0.68, 0.46))])


def boat_trailer(rng: Rng, size_m: float) -> Shape:
    """Boat of length `size_m` on a two-wheeled trailer."""
    half, w = size_m / 2, size_m * 0.19
    hull = trapezoids([[-half, 0.62, 1.2, 0.6 * w, w], [-half * 0.2, 0.55, 1.2, 0.55 * w, w],
                       [half * 0.5, 0.62, 1.25, 0.3 * w, 0.75 * w], [half, 1.1, 1.4, 0.02, 0.05]])  # fmt: skip
    deck = trapezoids([[-half * 0.9, 1.2, 1.26, 0.8 * w, 0.75 * w], [half * 0.5, 1.24, 1.3, 0.6 * w, 0.5 * w],
                       [half * 0.9, 1.36, 1.4, 0.1 * w, 0.08 * w]])  # fmt: skip
    screen = box((0.06, 1.3 * w, 0.4), (0.1 * half, 0, 1.48), rotation_xyz(0, -0.5))
    motor = [box((0.35, 0.3, 0.5), (-half - 0.15, 0, 1.3)), box((0.12, 0.12, 0.6), (-half - 0.15, 0, 0.85))]
    beams = [
        limb((-half * 0.8, s * 0.45 * w, 0.45), (half * 0.8, s * 0.2 * w, 0.5), 0.05, 0.05, points=5) for s in (-1, 1)
    ]
    beams += [
        limb((half * 0.8, 0, 0.5), (half + 0.7, 0, 0.45), 0.05, 0.05),
        limb((-0.3, -w, 0.35), (-0.3, w, 0.35), 0.05, 0.05),
    ]
    wheels = [wheel(0.3, 0.2, (-0.3, s * (w + 0.1), 0.3)) for s in (-1, 1)]
    parts = [
        Part(hull, "plain", pick(rng, ((0.93, 0.93, 0.92), (0.1, 0.2, 0.45), (0.7, 0.1, 0.1), (0.15, 0.4, 0.4))), 0.6),
        Part(deck, "wood", (0.8, 0.62, 0.42)),
        Part(screen, "plain", (0.2, 0.3, 0.35), 0.8),
        Part(combine(motor), "plain", (0.1, 0.1, 0.11), 0.4),
        Part(combine(beams), "metal", (0.6, 0.6, 0.62)),
        Part(combine(t for t, _ in wheels), "plain", (0.07,) * 3),
        Part(combine(r for _, r in wheels), "metal", (0.6,) * 3),
    ]
    return make_shape(parts)


def wheelbarrow(rng: Rng, size_m: float) -> Shape:
    """Wheelbarrow of length `size_m`."""
    pan = trapezoids([[-0.35, 0.34, 0.62, 0.18, 0.32], [0.3, 0.36, 0.68, 0.16, 0.3], [0.42, 0.6, 0.68, 0.12, 0.2]])
    load = blob((0.3, 0.22, 0.14), (0, 0, 0.62), rng=rng, roughness=0.1)
    front, _ = wheel(0.18, 0.08, (0.5, 0, 0.18))
    bars = []
    for s in (-1, 1):
        bars += [limb((0.5, s * 0.06, 0.18), (-0.75, s * 0.28, 0.6), 0.02, 0.02, points=5),
                 limb((-0.25, s * 0.2, 0.4), (-0.35, s * 0.24, 0.0), 0.018, 0.018, points=5)]  # fmt: skip
    grips = [limb((-0.7, s * 0.27, 0.58), (-0.85, s * 0.29, 0.63), 0.028, 0.028, points=6) for s in (-1, 1)]
    colour = pick(rng, ((0.15, 0.45, 0.2), (0.75, 0.15, 0.1), (0.1, 0.25, 0.6), (0.85, 0.6, 0.1), (0.5, 0.52, 0.54)))
    parts = [Part(pan, "plain", colour, 0.3), Part(combine(bars), "metal", (0.3, 0.3, 0.32)),
             Part(combine([front, *grips]), "plain", (0.07, 0.07, 0.07))]  # fmt: skip
    if rng.random() < 0.5:
        parts.append(Part(load, "dirt", (0.5, 0.4, 0.3)))
    return make_shape(parts, scale=size_m / 1.5, rotation=_rolled(rng, 0.25))


def traffic_cone(rng: Rng, size_m: float) -> Shape:
    """Cone of height `size_m` with white bands, standing or fallen."""
    h, colour = size_m, pick(rng, ((0.95, 0.35, 0.05), (0.95, 0.2, 0.1)), 0.03)
    cone = lathe([[0.2 * h, 0.04 * h], [0.035 * h, h], [0.01, h]])
    bands = [lathe([[0.205 * h * (1 - a) + 0.04 * h * a, a * h], [0.205 * h * (1 - b) + 0.04 * h * b, b * h]])
             for a, b in ((0.35, 0.5), (0.65, 0.78))]  # fmt: skip
    parts = [Part(combine([cone, box((0.5 * h, 0.5 * h, 0.05 * h), (0, 0, 0.025 * h))]), "plain", colour),
             Part(combine(bands), "plain", (0.95, 0.95, 0.95))]  # fmt: skip
    return make_shape(parts, rotation=_rolled(rng, 0.3))


def barrel(rng: Rng, size_m: float) -> Shape:
    """Drum of height `size_m` with ribs, standing or lying."""
    r, h = 0.33 * size_m, size_m
    shell = lathe(
        [
            [0.01, 0],
            [r, 0],
            [r, 0.32 * h],
            [1.05 * r, 0.34 * h],
            [r, 0.36 * h],
            [r, 0.64 * h],
            [1.05 * r, 0.66 * h],
            [r, 0.68 * h],
            [r, h],
            [0.93 * r, h],
            [0.93 * r, 0.97 * h],
            [0.01, 0.97 * h],
        ],
        points=16,
    )
    texture = str(rng.choice(["metal", "rust", "plain"]))
    return make_shape([Part(shell, texture, any_colour(rng, 0.1, 0.85), 0.3)], rotation=_rolled(rng, 0.5))


def plank(rng: Rng, size_m: float) -> Shape:
    """One to four boards of length `size_m`, crossing each other."""
    boards = []
    for level in range(int(rng.integers(1, 5))):
        turn = rotation_xyz(0, 0, float(rng.uniform(-0.6, 0.6)) if level else 0.0)
        boards.append(box((size_m * float(rng.uniform(0.6, 1.0)), float(rng.uniform(0.12, 0.25)), 0.04),
                          (0, float(rng.uniform(-0.2, 0.2)), 0.02 + 0.042 * level), turn))  # fmt: skip
    return make_shape([Part(combine(boards), "wood", pick(rng, _WOODS))])


def garbage_bag(rng: Rng, size_m: float) -> Shape:
    """One to three full bags, tied at the top."""
    meshes: list[Mesh] = []
    for index in range(int(rng.integers(1, 4))):
        at = np.array([index * 0.6, float(rng.uniform(-0.25, 0.25)), 0.0])
        r = 0.5 * float(rng.uniform(0.8, 1.1))
        meshes += [blob((r, r, 0.45), at + [0, 0, 0.4], rng=rng, roughness=0.09, rings=9, points=12),
                   limb(at + [0, 0, 0.75], at + [0.05, 0.02, 1.0], 0.1, 0.16)]  # fmt: skip
    colour = pick(rng, ((0.06, 0.06, 0.07), (0.1, 0.15, 0.4), (0.8, 0.82, 0.84), (0.75, 0.62, 0.1)), 0.03)
    return make_shape([Part(combine(meshes), "plain", colour, 0.6)], scale=size_m)


def ball(rng: Rng, size_m: float) -> Shape:
    """Ball of diameter `size_m` with a band of another colour."""
    r = size_m / 2
    band = lathe([[r * 0.93, r * 0.7], [r * 1.01, r], [r * 0.93, r * 1.3]], points=16)
    return make_shape([Part(blob((r, r, r), (0, 0, r), rings=11, points=16), "plain", any_colour(rng), 0.4),
                       Part(band, "plain", any_colour(rng), 0.4)])  # fmt: skip


def pipe(rng: Rng, size_m: float) -> Shape:
    """One or three pipes of length `size_m`."""
    r = float(rng.uniform(0.08, 0.2))
    tube = lathe([[0.8 * r, -size_m / 2], [r, -size_m / 2], [r, size_m / 2], [0.8 * r, size_m / 2], [0.75 * r, 0],
                  [0.8 * r, -size_m / 2]]).moved((0, 0, 0), rotation_xyz(0, np.pi / 2))  # fmt: skip
    at = [(0, 0, r)] if rng.random() < 0.5 else [(0, -r, r), (0.1, r, r), (-0.1, 0, r * 2.73)]
    colour = pick(rng, ((0.85, 0.45, 0.1), (0.6, 0.6, 0.62), (0.75, 0.72, 0.68), (0.1, 0.1, 0.1), (0.15, 0.35, 0.7)))
    return make_shape(
        [Part(combine(tube.moved(p) for p in at), str(rng.choice(["plain", "rust", "concrete"])), colour, 0.2)]
    )


def rock(rng: Rng, size_m: float) -> Shape:
    """Boulder of width `size_m`, now and then with smaller stones."""
    r = size_m / 2
    stones = [blob((r, r * float(rng.uniform(0.6, 1.0)), r * float(rng.uniform(0.5, 0.9))), (0, 0, 0.45 * r), rng=rng,
                   roughness=0.13, rings=7, points=9)]  # fmt: skip
    stones += [
        blob((0.35 * r, 0.3 * r, 0.28 * r), (*rng.uniform(-1.6, 1.6, 2) * r, 0.2 * r), rng=rng, roughness=0.13)
        for _ in range(int(rng.integers(0, 3)))
    ]
    sharp = combine(flat(stone.vertices, stone.faces) for stone in stones)
    low = np.maximum(sharp.vertices, [-np.inf, -np.inf, 0.0])
    colour = pick(rng, ((0.55, 0.54, 0.52), (0.62, 0.55, 0.45), (0.4, 0.4, 0.42), (0.6, 0.45, 0.36)), 0.04)
    return make_shape([Part(Mesh(low, sharp.faces, sharp.uv, sharp.normals), "rock", colour)])


def hay_bale(rng: Rng, size_m: float) -> Shape:
    """Round or square bale of length `size_m` with its twine."""
    colour = jitter(rng, (0.9, 0.78, 0.45), 0.05)
    if rng.random() < 0.55:
        r = size_m / 2
        mesh = lathe(
            [[0.01, -0.45 * size_m], [r, -0.45 * size_m], [r * 1.02, 0], [r, 0.45 * size_m], [0.01, 0.45 * size_m]],
            points=18,
        ).moved((0, 0, r), _FLAT)
        twine = [lathe([[r * 1.025, y - 0.01], [r * 1.025, y + 0.01]]).moved((0, 0, r), _FLAT) for y in (-0.2, 0, 0.2)]
    else:
        mesh = box((size_m, 0.5 * size_m, 0.42 * size_m), (0, 0, 0.21 * size_m))
        twine = [box((0.02, 0.51 * size_m, 0.43 * size_m), (x * size_m, 0, 0.212 * size_m)) for x in (-0.2, 0.2)]
    return make_shape([Part(mesh, "hay", colour), Part(combine(twine), "plain", (0.2, 0.35, 0.6))])


def pallet(rng: Rng, size_m: float) -> Shape:
    """One to four pallets of length `size_m`, stacked or one leaning."""
    one: list[Mesh] = [box((size_m, 0.1, 0.022), (0, y, 0.13)) for y in np.linspace(-0.35, 0.35, 6)]
    one += [box((0.1, 0.8, 0.02), (x * size_m, 0, 0.11)) for x in (-0.44, 0, 0.44)]
    one += [box((0.12, 0.1, 0.09), (x * size_m, y, 0.055)) for x in (-0.44, 0, 0.44) for y in (-0.35, 0, 0.35)]
    one += [box((size_m, 0.1, 0.02), (0, y, 0.01)) for y in (-0.35, 0, 0.35)]
    single = combine(one)
    count = int(rng.choice([1, 1, 2, 3, 4]))
    stack = [single.moved((0, 0, 0.143 * i), rotation_xyz(0, 0, float(rng.normal(0, 0.05)))) for i in range(count)]
    if count == 1 and rng.random() < 0.3:
        stack = [single.moved((0, 0, 0.4), rotation_xyz(float(rng.uniform(0.9, 1.3))))]
    return make_shape([Part(combine(stack), "wood", pick(rng, _WOODS, 0.05))])


def gas_canister(rng: Rng, size_m: float) -> Shape:
    """Gas bottle of height `size_m` with valve guard, standing or lying."""
    h, r = size_m, 0.26 * size_m
    shell = lathe(
        [
            [0.8 * r, 0],
            [0.85 * r, 0.05 * h],
            [r, 0.1 * h],
            [r, 0.62 * h],
            [0.85 * r, 0.73 * h],
            [0.4 * r, 0.8 * h],
            [0.12 * r, 0.81 * h],
            [0.12 * r, 0.9 * h],
            [0.01, 0.9 * h],
        ],
        points=16,
    )
    guard = lathe([[0.6 * r, 0.78 * h], [0.6 * r, h], [0.54 * r, h], [0.54 * r, 0.8 * h]], points=12)
    colour = pick(rng, ((0.75, 0.12, 0.1), (0.1, 0.25, 0.6), (0.85, 0.5, 0.08), (0.65, 0.67, 0.68), (0.15, 0.4, 0.25)))
    return make_shape([Part(combine([shell, guard]), "metal", colour, 0.5)], rotation=_rolled(rng, 0.4))


def brick(rng: Rng, size_m: float) -> Shape:
    """A few bricks or lumps of concrete, each about `size_m` long: the smallest debris."""
    lumps = []
    for index in range(int(rng.integers(1, 6))):
        turn = rotation_xyz(0, 0, float(rng.uniform(0, np.pi)))
        reach = 2.0 * size_m if index else 0.0
        lumps.append(
            box((size_m, 0.5 * size_m, 0.35 * size_m), (*(rng.uniform(-1, 1, 2) * reach), 0.175 * size_m), turn)
        )
    colour = pick(rng, ((0.62, 0.28, 0.18), (0.7, 0.68, 0.64), (0.5, 0.24, 0.2)), 0.04)
    return make_shape([Part(combine(lumps), "rock", colour)])


def surfboard(rng: Rng, size_m: float) -> Shape:
    """Surfboard of length `size_m`."""
    xs = np.array([-1, -0.85, -0.5, 0, 0.5, 0.85, 1.0]) * size_m / 2
    ws = np.array([0.08, 0.17, 0.25, 0.28, 0.22, 0.1, 0.02])
    board = loft(np.stack([xs, 0.06 + 0.1 * (xs / size_m) ** 2, ws, np.full(7, 0.04)], 1), points=12)
    stripe = box((size_m * 0.8, 0.05, 0.012), (0, 0, 0.102))
    fin = box((0.14, 0.012, 0.14), (-0.4 * size_m, 0, 0.0), rotation_xyz(0, 0.4))
    return make_shape(
        [Part(board, "plain", any_colour(rng, 0.2), 0.6), Part(combine([stripe, fin]), "plain", any_colour(rng))],
        rotation=_rolled(rng, 0.3),
    )


def tent(rng: Rng, size_m: float) -> Shape:
    """Small tent of length `size_m`."""
    half, w, h = size_m / 2, 0.38 * size_m, 0.5 * size_m
    corners = np.array(
        [[-half, -w, 0], [half, -w, 0], [half, w, 0], [-half, w, 0], [-half * 0.8, 0, h], [half * 0.8, 0, h]]
    )
    faces = np.array([[0, 1, 5], [0, 5, 4], [2, 3, 4], [2, 4, 5], [0, 4, 3], [1, 2, 5]], dtype=np.int32)
    top, low = np.array([half * 0.85, 0, 0.75 * h]), np.array([half * 0.97, 0, 0.04])
    halves = np.array([low + [0, -0.3 * w, 0], low, top, low + [0, 0.3 * w, 0]])
    door = flat(halves, np.array([[0, 1, 2], [1, 3, 2]], dtype=np.int32)).moved((0.04, 0, 0))
    return make_shape(
        [Part(flat(corners, faces), "fabric", any_colour(rng, 0.2)), Part(door, "plain", (0.1, 0.1, 0.1))]
    )


def cable_drum(rng: Rng, size_m: float) -> Shape:
    """Wooden cable drum of diameter `size_m`: two flanges and a core."""
    r, w = size_m / 2, 0.3 * size_m
    drum = lathe([[0.01, -w], [r, -w], [r, -0.8 * w], [0.45 * r, -0.8 * w], [0.45 * r, 0.8 * w], [r, 0.8 * w], [r, w],
                  [0.01, w]], points=18)  # fmt: skip
    return make_shape([Part(drum, "wood", pick(rng, _WOODS))], rotation=_rolled(rng, 0.6))
