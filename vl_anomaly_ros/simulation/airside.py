# SPDX-License-Identifier: Apache-2.0
"""Shapes of an airport apron: service vehicles (trucks to the segmenter), aircraft, passenger bridges, light masts."""

from __future__ import annotations

import numpy as np

from .meshes import Mesh, box, combine, flat, limb, loft, rotation_xyz, trapezoids
from .road_things import jitter, pick, wheel, wheels
from .scene import Colour, Part, Shape, make_shape

Rng = np.random.Generator

_SIGNAL: tuple[Colour, ...] = ((0.9, 0.72, 0.1), (0.92, 0.92, 0.9), (0.85, 0.4, 0.08), (0.2, 0.35, 0.6))
_GLASS: Colour = (0.12, 0.15, 0.19)


def _tug(x: float, colour: Colour) -> list[Part]:
    body = trapezoids([[x - 1.2, 0.3, 0.95, 0.65, 0.65], [x + 0.5, 0.3, 0.95, 0.65, 0.65],
                       [x + 1.2, 0.3, 0.8, 0.6, 0.58]])  # fmt: skip
    posts = [limb((x + a, s * 0.55, 0.9), (x + a, s * 0.55, 1.75), 0.03, 0.03, points=5)
             for a in (-0.5, 0.4) for s in (-1, 1)]  # fmt: skip
    roof = box((1.1, 1.25, 0.06), (x - 0.05, 0, 1.76))
    return [Part(combine([body, roof]), "plain", colour, 0.3), Part(combine(posts), "metal", (0.3, 0.3, 0.3)),
            *wheels([x - 0.75, x + 0.75], 1.2, 0.3)]  # fmt: skip


def _baggage_train(rng: Rng, colour: Colour) -> list[Part]:
    count = int(rng.integers(1, 4))
    parts = _tug(1.5 * count + 0.7, colour)
    pitch = 3.0
    cars = [1.5 * count - 2.3 - i * pitch for i in range(count)]
    parts += wheels([x + dx for x in cars for dx in (-0.9, 0.9)], 1.3, 0.22)
    parts.append(Part(combine([box((2.5, 1.5, 0.12), (x, 0, 0.5)) for x in cars]), "metal", (0.4, 0.42, 0.44)))
    bars = [limb((x + 1.2, 0, 0.45), (x + 1.9, 0, 0.45), 0.04, 0.04, points=5) for x in cars]
    parts.append(Part(combine(bars), "metal", (0.3, 0.3, 0.3)))
    if rng.random() < 0.6:
        covers = [box((2.4, 1.45, 1.2), (x, 0, 1.2)) for x in cars]
        parts.append(Part(combine(covers), str(rng.choice(["fabric", "plain"])), pick(rng, _SIGNAL)))
    return parts


def _belt_loader(rng: Rng, colour: Colour) -> list[Part]:
    body = trapezoids([[-2.4, 0.35, 0.9, 0.9, 0.9], [1.8, 0.35, 0.9, 0.9, 0.9], [2.6, 0.4, 0.7, 0.8, 0.8]])
    belt = box((6.5, 0.9, 0.2), (0.2, 0.4, 1.6), rotation_xyz(0, -float(rng.uniform(0.08, 0.3))))
    seat = box((0.7, 0.6, 0.9), (1.2, -0.5, 1.2))
    return [Part(combine([body, seat]), "plain", colour, 0.3), Part(belt, "plain", (0.1, 0.1, 0.1)),
            *wheels([-1.5, 1.6], 1.6, 0.38)]  # fmt: skip


def _pushback_tug(_: Rng, colour: Colour) -> list[Part]:
    body = trapezoids([[-3.5, 0.4, 1.25, 1.25, 1.25], [1.2, 0.4, 1.25, 1.25, 1.25], [3.4, 0.4, 1.0, 1.2, 1.15]])
    cab = trapezoids([[1.0, 1.2, 1.95, 1.0, 0.9], [2.6, 1.1, 1.95, 1.0, 0.85]])
    return [Part(body, "plain", colour, 0.3), Part(cab, "plain", _GLASS, 0.8), *wheels([-2.2, 2.2], 2.2, 0.55, 0.4)]


def _catering_truck(rng: Rng, colour: Colour) -> list[Part]:
    lift = float(rng.choice([0.0, 0.6, 2.2]))
    box_z = 1.0 + lift
    cab = trapezoids([[2.2, 0.5, 2.4, 1.1, 1.05], [3.3, 0.5, 2.4, 1.1, 1.0], [3.7, 0.5, 1.5, 1.05, 1.0]])
    body = box((5.4, 2.4, 2.3), (-0.8, 0, box_z + 1.15))
    frame = box((7.2, 1.0, 0.3), (0, 0, 0.75))
    rails = [limb((-2.5 + 3.2 * k, s * 0.9, 0.9), (0.7 - 3.2 * k, s * 0.9, box_z + 0.1), 0.07, 0.07, points=5)
             for k in (0, 1) for s in (-1, 1)]  # fmt: skip
    pane = box((0.5, 2.0, 0.7), (3.32, 0, 1.85), rotation_xyz(0, -0.25))
    return [Part(combine([cab, body]), "plain", colour, 0.2), Part(pane, "plain", _GLASS, 0.8),
            Part(combine([frame, *rails]), "metal", (0.35, 0.35, 0.37)),
            *wheels([-2.2, 2.6], 2.0, 0.45, 0.3)]  # fmt: skip


def _stairs(rng: Rng, colour: Colour) -> list[Part]:
    top = float(rng.uniform(2.4, 3.6))
    steps = [box((0.32, 1.4, 0.12), (-2.0 + 4.2 * t, 0, 0.5 + (top - 0.5) * t)) for t in np.linspace(0, 1, 11)]
    sides = [limb((-2.1, side * 0.75, 0.5 + z), (2.3, side * 0.75, top + z), 0.05, 0.05, points=5)
             for side in (-1, 1) for z in (0.2, 1.2)]  # fmt: skip
    sides += [limb((2.2, side * 0.7, 0.4), (2.2, side * 0.7, top), 0.08, 0.08, points=5) for side in (-1, 1)]
    chassis = trapezoids([[-2.6, 0.3, 0.85, 0.8, 0.8], [2.4, 0.3, 0.85, 0.8, 0.8]])
    return [Part(combine([chassis, *sides]), "plain", colour, 0.2), Part(combine(steps), "metal", (0.55, 0.56, 0.58)),
            *wheels([-1.7, 1.7], 1.5, 0.34)]  # fmt: skip


_VEHICLES = {
    "baggage train": _baggage_train, "belt loader": _belt_loader, "pushback tug": _pushback_tug,
    "catering truck": _catering_truck, "passenger stairs": _stairs,
}  # fmt: skip


def service_vehicle(rng: Rng) -> tuple[str, Shape]:
    """Baggage train, belt loader, pushback tug, catering truck or passenger stairs."""
    kind = str(rng.choice(list(_VEHICLES)))
    return kind, make_shape(_VEHICLES[kind](rng, pick(rng, _SIGNAL, 0.04)))


def _panel(corners: list[tuple[float, float, float]], thickness_m: float) -> Mesh:
    """Plate of four corners, of even thickness along z."""
    half = np.array([0.0, 0.0, thickness_m / 2])
    points = np.concatenate([np.subtract(corners, half), np.add(corners, half)])
    sides = [[i, (i + 1) % 4, 4 + (i + 1) % 4, 4 + i] for i in range(4)]
    quads = [[3, 2, 1, 0], [4, 5, 6, 7], *sides]
    faces = np.array([f for a, b, c, d in quads for f in ([a, b, c], [a, c, d])], np.int32)
    return combine([flat(points, faces), flat(points, faces[:, ::-1].copy())])


def aircraft(rng: Rng) -> Shape:
    """Airliner of 20 to 38 m on its wheels, nose to +x."""
    length = float(rng.uniform(20, 38))
    r, half = 0.05 * length + 0.2, length / 2
    z = r + 1.4 + 0.01 * length
    hull = loft([[-half, z + 0.6 * r, 0.1 * r, 0.12 * r], [-0.55 * half, z + 0.1 * r, 0.8 * r, 0.85 * r],
                 [-0.3 * half, z, r, r], [0.72 * half, z, r, r], [0.9 * half, z - 0.1 * r, 0.72 * r, 0.7 * r],
                 [half, z - 0.3 * r, 0.12 * r, 0.12 * r]], points=18)  # fmt: skip
    wings = []
    for side in (-1, 1):
        tip = side * 0.47 * length
        wings.append(_panel([(0.3 * half, side * 0.8 * r, z - 0.5 * r), (-0.25 * half, side * 0.8 * r, z - 0.5 * r),
                             (-0.35 * half, tip, z + 0.4), (-0.2 * half, tip, z + 0.4)], 0.28))  # fmt: skip
        wings.append(_panel([(-0.75 * half, 0, z + 0.5 * r), (-0.96 * half, 0, z + 0.5 * r),
                             (-half, side * 0.17 * length, z + 0.7 * r),
                             (-0.92 * half, side * 0.17 * length, z + 0.7 * r)], 0.16))  # fmt: skip
    fin = _panel(
        [(-0.68 * half, 0, 0), (-0.95 * half, 0, 0), (-1.04 * half, 2.9 * r, 0), (-0.9 * half, 2.9 * r, 0)], 0.2
    )
    upright = fin.moved((0, 0, z + 0.6 * r), rotation_xyz(np.pi / 2))
    engine = loft([[0, 0, 0.3 * r, 0.3 * r], [0.13 * half, 0, 0.5 * r, 0.5 * r], [0.25 * half, 0, 0.46 * r, 0.46 * r]],
                  points=12)  # fmt: skip
    engines = [engine.moved((0, side * 0.17 * length, z - 0.75 * r)) for side in (-1, 1)]
    legs, tyres = [], []
    for x, y in ((0.78 * half, 0.0), (-0.1 * half, 1.2 * r), (-0.1 * half, -1.2 * r)):
        legs.append(limb((x, y, 0.4), (x, y, z - 0.5 * r), 0.14, 0.16))
        tyres += [wheel(0.5, 0.35, (x, y + dy, 0.5))[0] for dy in (-0.35, 0.35)]
    panes = box((0.9 * length * 0.68, 2.02 * r, 0.28), (0.12 * half, 0, z + 0.25 * r))
    cockpit = box((0.05 * length, 1.1 * r, 0.3), (0.89 * half, 0, z + 0.42 * r), rotation_xyz(0, 0.35))
    livery = pick(rng, ((0.1, 0.2, 0.55), (0.75, 0.08, 0.1), (0.05, 0.35, 0.25), (0.85, 0.5, 0.05), (0.3, 0.3, 0.33)))
    belly = pick(rng, ((0.93, 0.93, 0.93), (0.93, 0.93, 0.93), (0.75, 0.77, 0.8)), 0.02)
    return make_shape([
        Part(hull, "plain", belly, 0.5), Part(combine(wings), "metal", (0.75, 0.77, 0.79), 0.3),
        Part(upright, "plain", livery, 0.4), Part(combine(engines), "plain", livery, 0.4),
        Part(combine([panes, cockpit]), "plain", _GLASS, 0.5), Part(combine(legs), "metal", (0.6, 0.6, 0.62)),
        Part(combine(tyres), "plain", (0.07, 0.07, 0.07)),
    ])  # fmt: skip


def passenger_bridge(rng: Rng) -> Shape:
    """Glazed corridor on legs, 16 to 24 m along x, its cab at +x."""
    length, z = float(rng.uniform(16, 24)), float(rng.uniform(3.6, 4.4))
    half, colour = length / 2, jitter(rng, (0.75, 0.76, 0.78), 0.05)
    tube = box((length, 2.2, 2.3), (0, 0, z + 1.15))
    cab = box((3.0, 3.2, 2.8), (half, 0, z + 1.3))
    legs = [limb((0.55 * half, s * 0.8, 0), (0.55 * half, s * 0.8, z), 0.18, 0.18) for s in (-1, 1)]
    legs.append(limb((-0.8 * half, 0, 0), (-0.8 * half, 0, z), 0.5, 0.5, points=10))
    panes = box((length * 0.9, 2.24, 0.8), (-0.03 * length, 0, z + 1.35))
    return make_shape([Part(combine([tube, cab]), str(rng.choice(["bars", "plain"])), colour),
                       Part(combine(legs), "metal", (0.6, 0.62, 0.64)), Part(panes, "plain", _GLASS, 0.7)])  # fmt: skip


def light_mast(rng: Rng) -> Shape:
    """Flood-light mast of 14 to 22 m."""
    height = float(rng.uniform(14, 22))
    lamps = [box((0.3, 0.5, 0.35), (0.3, y, height)) for y in (-1.0, -0.35, 0.35, 1.0)]
    return make_shape([
        Part(combine([limb((0, 0, 0), (0, 0, height), 0.3, 0.14), box((0.15, 2.6, 0.15), (0, 0, height))]), "metal",
             (0.6, 0.62, 0.63)),
        Part(combine(lamps), "plain", (0.9, 0.9, 0.82), glow=0.35),
    ])  # fmt: skip
