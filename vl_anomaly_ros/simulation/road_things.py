# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF005 (offsets are added to arrays here; no lists are joined)
"""Shapes of the known classes that move: cars, trucks, people, cyclists; colours and proportions drawn at random."""

from __future__ import annotations

import numpy as np

from .meshes import Mesh, blob, box, combine, lathe, limb, loft, rotation_xyz, trapezoids
from .scene import Colour, Part, Shape, make_shape

Rng = np.random.Generator

_PAINTS: tuple[Colour, ...] = (
    (0.92, 0.92, 0.92), (0.08, 0.08, 0.09), (0.45, 0.46, 0.48), (0.68, 0.7, 0.72), (0.6, 0.07, 0.07),
    (0.1, 0.18, 0.5), (0.12, 0.32, 0.2), (0.82, 0.66, 0.12), (0.4, 0.26, 0.16), (0.2, 0.45, 0.65), (0.8, 0.35, 0.1),
)  # fmt: skip
_SKINS: tuple[Colour, ...] = ((0.95, 0.78, 0.66), (0.82, 0.6, 0.45), (0.55, 0.37, 0.26), (0.35, 0.23, 0.17))


def jitter(rng: Rng, colour: Colour, spread: float = 0.08) -> Colour:
    """`colour` moved a little, kept within 0..1."""
    red, green, blue = np.clip(np.asarray(colour) + rng.normal(0, spread, 3), 0.02, 1.0)
    return float(red), float(green), float(blue)


def any_colour(rng: Rng, low: float = 0.05, high: float = 0.95) -> Colour:
    """A colour from the whole range, full or pale."""
    colour = rng.uniform(low, high, 3)
    red, green, blue = colour + float(rng.uniform(0.0, 0.85)) * (colour.mean() - colour)
    return float(red), float(green), float(blue)


def pick(rng: Rng, colours: tuple[Colour, ...], spread: float = 0.06) -> Colour:
    """One of `colours`, moved a little."""
    return jitter(rng, colours[int(rng.integers(len(colours)))], spread)


def paint(rng: Rng) -> Colour:
    """A car's colour: mostly from the usual ones, now and then any."""
    return any_colour(rng) if rng.random() < 0.15 else pick(rng, _PAINTS, 0.04)


def wheel(radius_m: float, width_m: float, center: tuple[float, float, float]) -> tuple[Mesh, Mesh]:
    """Tyre and rim of a wheel that rolls along x."""
    r, w = radius_m, width_m / 2
    tyre = lathe([[0.6 * r, -w], [0.95 * r, -w], [r, -0.6 * w], [r, 0.6 * w], [0.95 * r, w], [0.6 * r, w]],
                 points=12)  # fmt: skip
    rim = lathe([[0.01, -0.8 * w], [0.62 * r, -0.9 * w], [0.62 * r, 0.9 * w], [0.01, 0.8 * w]], points=8)
    turn = rotation_xyz(np.pi / 2)
    return tyre.moved(center, turn), rim.moved(center, turn)


def wheels(xs: list[float], track_m: float, radius_m: float, width_m: float = 0.22) -> list[Part]:
    """Pairs of wheels at positions `xs` along the vehicle."""
    pairs = [wheel(radius_m, width_m, (x, side * track_m / 2, radius_m)) for x in xs for side in (-1, 1)]
    return [
        Part(combine(tyre for tyre, _ in pairs), "plain", (0.07, 0.07, 0.07)),
        Part(combine(rim for _, rim in pairs), "metal", (0.6, 0.6, 0.62), shine=0.4),
    ]


def _lights(length: float, width: float, height: float) -> list[Part]:
    def pair(x: float) -> Mesh:
        return combine(box((0.06, 0.32, 0.14), (x, side * (width / 2 - 0.22), height)) for side in (-1, 1))

    plate = combine([box((0.05, 0.5, 0.12), (x, 0, height - 0.22)) for x in (-length / 2, length / 2)])
    return [
        Part(pair(length / 2 - 0.02), "plain", (0.95, 0.95, 0.88), shine=0.6, glow=0.3),
        Part(pair(-length / 2 + 0.02), "plain", (0.75, 0.05, 0.05), glow=0.25),
        Part(plate, "plain", (0.9, 0.9, 0.82)),
    ]


def car(rng: Rng) -> tuple[str, Shape]:
    """Saloon, hatchback, estate, off-roader, van or pick-up, 3.5 to 5.4 m long."""
    kind = str(rng.choice(["saloon", "hatchback", "estate", "suv", "van", "pickup"]))
    low, high = {
        "saloon": (4.3, 5.0), "hatchback": (3.5, 4.3), "estate": (4.4, 4.9), "suv": (4.2, 4.9), "van": (4.6, 5.4),
        "pickup": (4.9, 5.4),
    }[kind]  # fmt: skip
    length, width = float(rng.uniform(low, high)), float(rng.uniform(1.65, 1.9))
    height = float({"suv": rng.uniform(1.65, 1.85), "van": rng.uniform(1.85, 2.3), "pickup": rng.uniform(1.7, 1.85)}
                   .get(kind, rng.uniform(1.38, 1.55)))  # fmt: skip
    clear = 0.3 if kind in ("suv", "pickup") else 0.2
    belt = height * (0.5 if kind == "van" else 0.6)
    half, w = length / 2, width / 2
    colour = paint(rng)
    body = trapezoids(
        [[-half, clear + 0.15, belt - 0.08, w - 0.1, w - 0.12], [-half + 0.2, clear, belt, w, w - 0.04],
         [half - 0.6, clear, belt - 0.04, w, w - 0.04], [half - 0.15, clear, belt - 0.16, w - 0.03, w - 0.1],
         [half, clear + 0.12, belt - 0.28, w - 0.14, w - 0.2]]
    )  # fmt: skip
    rear = {"saloon": -0.72, "hatchback": -0.96, "estate": -0.97, "suv": -0.96, "van": -0.98, "pickup": -0.12}[kind]
    front = {"van": 0.78, "pickup": 0.5}.get(kind, 0.42)
    slope = {"saloon": 0.55, "estate": 0.2, "van": 0.06, "suv": 0.2, "pickup": 0.1}.get(kind, 0.35)
    x0, x1, top = rear * half, front * half, w - 0.22
    roof = [x0 + slope, x1 - (0.35 if kind == "van" else 0.65)]
    glass = trapezoids(
        [[x0, belt - 0.05, belt + 0.02, w - 0.06, w - 0.07], [roof[0], belt - 0.05, height - 0.05, w - 0.06, top],
         [roof[1], belt - 0.05, height - 0.05, w - 0.06, top], [x1, belt - 0.05, belt + 0.02, w - 0.06, w - 0.07]]
    )  # fmt: skip
    lid = trapezoids(
        [[roof[0] - 0.05, height - 0.08, height - 0.03, top + 0.03, top], [(roof[0] + roof[1]) / 2, height - 0.08,
         height, top + 0.03, top - 0.05], [roof[1] + 0.05, height - 0.08, height - 0.03, top + 0.03, top]]
    )  # fmt: skip
    pillars = [
        box((0.07, 2 * w - 0.1, 0.0 + (height - belt)), ((roof[0] + roof[1]) / 2, 0, (height + belt) / 2 - 0.04))
    ]
    if kind == "van" and rng.random() < 0.6:
        pillars.append(box((roof[1] - roof[0] - 0.9, 2 * w - 0.08, height - belt - 0.05),
                           ((roof[0] + roof[1]) / 2 - 0.45, 0, (height + belt) / 2 - 0.04)))  # fmt: skip
    radius = 0.36 if kind in ("suv", "pickup") else 0.31
    parts = [
        Part(combine([body, lid, *pillars]), "plain", colour, shine=0.5),
        Part(glass, "plain", jitter(rng, (0.12, 0.15, 0.19), 0.03), shine=0.9),
        Part(combine([box((0.1, width - 0.16, 0.14), (x, 0, clear + 0.12)) for x in (-half + 0.02, half - 0.03)]),
             "plain", (0.1, 0.1, 0.1)),
        *wheels([-0.3 * length, 0.31 * length], width - 0.2, radius),
        *_lights(length, width, belt - 0.22),
    ]  # fmt: skip
    return kind, make_shape(parts)


def truck(rng: Rng) -> tuple[str, Shape]:
    """Lorry, tanker, tipper or bus, 6 to 11 m long."""
    kind = str(rng.choice(["box truck", "flatbed truck", "tanker", "bus"]))
    length = float(rng.uniform(9, 11.5) if kind == "bus" else rng.uniform(6, 9.5))
    width, height = float(rng.uniform(2.2, 2.5)), float(rng.uniform(2.7, 3.5))
    half, w, colour = length / 2, width / 2, paint(rng)
    parts = wheels([-0.3 * length, -0.18 * length, 0.34 * length], width - 0.3, 0.48, 0.3)
    parts += _lights(length, width, 0.9)
    glass = jitter(rng, (0.12, 0.15, 0.19), 0.03)
    if kind == "bus":
        parts.append(
            Part(box((length, width, height - 0.45), (0, 0, 0.45 + (height - 0.45) / 2)), "plain", colour, 0.4)
        )
        band = box((length - 0.7, width + 0.04, 0.9), (0, 0, height - 1.2))
        parts.append(Part(combine([band, box((0.06, width - 0.3, 1.3), (half, 0, height - 1.3))]), "plain", glass, 0.9))
        return kind, make_shape(parts)
    cab = 1.9
    parts.append(
        Part(trapezoids([[half - cab, 0.5, 2.6, w, w - 0.05], [half - 0.35, 0.5, 2.6, w, w - 0.08],
                         [half, 0.5, 1.5, w - 0.05, w - 0.1]]), "plain", colour, 0.4)
    )  # fmt: skip
    parts.append(
        Part(box((0.5, width - 0.3, 0.75), (half - 0.26, 0, 1.95), rotation_xyz(0, -0.25)), "plain", glass, 0.9)
    )
    parts.append(Part(box((1.0, width + 0.02, 0.6), (half - 1.05, 0, 2.05)), "plain", glass, 0.9))
    parts.append(Part(box((length - 0.2, 1.0, 0.25), (-0.1, 0, 0.7)), "plain", (0.12, 0.12, 0.12)))
    bed, middle = length - cab - 0.15, -cab / 2 - 0.07
    load = any_colour(rng, 0.2) if rng.random() < 0.6 else (0.9, 0.9, 0.88)
    if kind == "tanker":
        tank = loft([[-bed / 2, 1.75, 0.9, 0.8], [-bed / 2 + 0.3, 1.75, 1.1, 0.95], [bed / 2 - 0.3, 1.75, 1.1, 0.95],
                     [bed / 2, 1.75, 0.9, 0.8]], points=14)  # fmt: skip
        parts.append(Part(tank.moved((middle, 0, 0)), "metal", load, 0.6))
    elif kind == "flatbed truck":
        parts.append(Part(box((bed, width, 0.15), (middle, 0, 0.9)), "wood", (0.5, 0.4, 0.3)))
        sides = [box((bed, 0.06, 0.6), (middle, s * (w - 0.03), 1.25)) for s in (-1, 1)]
        parts.append(Part(combine([*sides, box((0.06, width, 0.9), (middle + bed / 2, 0, 1.4))]), "bars", load))
    else:
        texture = str(rng.choice(["plain", "bars"]))
        parts.append(
            Part(box((bed, width, height - 0.85), (middle, 0, 0.85 + (height - 0.85) / 2)), texture, load, 0.2)
        )
    return kind, make_shape(parts)


def _body(rng: Rng, height: float, *, stride: float, lean: float, hip: float, reach: float) -> list[Part]:
    """Head, torso and limbs of a person whose hips are at `hip` metres, legs ending at z = 0."""
    build = float(rng.uniform(0.85, 1.3))
    shoulder = hip + 0.33 * height
    top = np.array([np.sin(lean) * (shoulder - hip), 0, shoulder])
    cloth = any_colour(rng) if rng.random() < 0.7 else pick(rng, ((0.1, 0.1, 0.12), (0.9, 0.9, 0.88)))
    legs = pick(
        rng, ((0.1, 0.12, 0.2), (0.12, 0.12, 0.12), (0.25, 0.3, 0.42), (0.5, 0.45, 0.36), (0.6, 0.58, 0.55)), 0.05
    )
    skin = pick(rng, _SKINS, 0.03)
    torso = limb((0, 0, hip - 0.05), top, 0.14 * build, 0.17 * build, points=9).scaled((0.85, 1.2, 1.0))
    limbs, feet, hands = [], [], []
    for side, swing in ((-1, stride), (1, -stride)):
        knee = np.array([swing * 0.35 + 0.03, side * 0.1, hip * 0.52])
        foot = np.array([swing * 0.8 - 0.05, side * 0.1, 0.06 + 0.03 * max(-swing, 0)])
        limbs += [limb((0, side * 0.09, hip), knee, 0.09 * build, 0.07), limb(knee, foot, 0.07, 0.05)]
        feet.append(box((0.26, 0.1, 0.09), foot + [0.06, 0, -0.01]))
        elbow = top + [reach * 0.4 - swing * 0.3, side * 0.22 * build, -0.27 + reach * 0.1]
        hand = elbow + [0.12 + reach * 0.5 - swing * 0.2, -side * 0.02, -0.22 + reach * 0.1]
        hands.append((top + [0, side * 0.18 * build, -0.03], elbow, hand))
    arms = [limb(a, b, 0.06, 0.05) for a, b, _ in hands] + [limb(b, c, 0.05, 0.035) for _, b, c in hands]
    head = top + [0.03, 0, 0.17 * height / 1.75 + 0.03]
    hair = pick(rng, ((0.08, 0.06, 0.05), (0.3, 0.2, 0.12), (0.65, 0.52, 0.3), (0.55, 0.55, 0.55)), 0.03)
    return [
        Part(combine([torso, *arms]), str(rng.choice(["fabric", "plain"])), cloth),
        Part(combine(limbs), str(rng.choice(["fabric", "plain", "plain"])), legs),
        Part(combine(feet), "plain", jitter(rng, (0.15, 0.12, 0.1))),
        Part(combine([blob((0.1, 0.085, 0.125), head), limb(top, head, 0.05, 0.05),
                      *(blob((0.05, 0.035, 0.05), c, rings=5, points=6) for _, _, c in hands)]), "plain", skin),
        Part(blob((0.11, 0.095, 0.09), head + [-0.025, 0, 0.055]), "fur", hair),
    ]  # fmt: skip


def person(rng: Rng) -> tuple[str, Shape]:
    """Adult or child, standing or walking, now and then with a bag or a long coat."""
    child = rng.random() < 0.15
    height = float(rng.uniform(1.1, 1.45) if child else rng.uniform(1.55, 1.95))
    stride = float(rng.uniform(0.0, 0.42)) if rng.random() < 0.75 else 0.0
    parts = _body(rng, height, stride=stride, lean=float(rng.uniform(0, 0.1)), hip=0.5 * height, reach=0.0)
    if rng.random() < 0.3:
        parts.append(Part(loft([[-0.3, 0.62 * height, 0.13, 0.2], [-0.14, 0.65 * height, 0.16, 0.24]], exponent=4),
                          "fabric", any_colour(rng)))  # fmt: skip
    if rng.random() < 0.25:
        parts.append(Part(lathe([[0.24, 0.36 * height], [0.2, 0.6 * height], [0.16, 0.75 * height]], points=9),
                          "fabric", any_colour(rng)))  # fmt: skip
    return ("child" if child else "person"), make_shape(parts)


def bicycle_parts(rng: Rng) -> list[Part]:
    """Frame, wheels and handlebar of a bicycle 1.7 m long."""
    radius, rear, front = 0.34, -0.52, 0.53
    ring = lathe([[radius - 0.035, -0.02], [radius, -0.02], [radius, 0.02], [radius - 0.035, 0.02],
                  [radius - 0.035, -0.02]], points=18)  # fmt: skip
    turn = rotation_xyz(np.pi / 2)
    spokes = [limb((x, 0, radius), (x + np.cos(a) * 0.32, 0, radius + np.sin(a) * 0.32), 0.006, 0.006, points=4)
              for x in (rear, front) for a in np.arange(6) * np.pi / 3]  # fmt: skip
    crank, seat, neck = (-0.08, 0, 0.3), (-0.22, 0, 0.82), (0.4, 0, 0.85)
    tubes = [limb(a, b, 0.022, 0.022, points=5) for a, b in (
        (crank, seat), (seat, neck), (crank, neck), (crank, (rear, 0, radius)), ((-0.2, 0, 0.72), (rear, 0, radius)),
        (neck, (front, 0, radius)), (neck, (0.36, 0, 1.02)))]  # fmt: skip
    bar = limb((0.36, -0.28, 1.02), (0.36, 0.28, 1.02), 0.016, 0.016, points=5)
    return [
        Part(combine([ring.moved((rear, 0, radius), turn), ring.moved((front, 0, radius), turn)]), "plain",
             (0.06, 0.06, 0.06)),
        Part(combine([*tubes, bar]), "plain", any_colour(rng), shine=0.4),
        Part(combine([*spokes]), "plain", (0.6, 0.6, 0.6)),
        Part(blob((0.14, 0.07, 0.04), (-0.24, 0, 0.9)), "plain", (0.1, 0.1, 0.1)),
    ]  # fmt: skip


def cyclist(rng: Rng) -> tuple[str, Shape]:
    """Person riding a bicycle, with or without a helmet."""
    rider = _body(rng, 1.7, stride=0.18, lean=float(rng.uniform(0.35, 0.6)), hip=0.82, reach=0.42)
    parts = bicycle_parts(rng)
    parts += [Part(part.mesh.moved((-0.2, 0, 0.16)), part.texture, part.colour, part.shine) for part in rider]
    if rng.random() < 0.5:
        lean_top = rider[-1].mesh.vertices.mean(axis=0) + [-0.2, 0, 0.2]
        parts.append(Part(blob((0.15, 0.11, 0.09), lean_top), "plain", any_colour(rng), shine=0.3))
    return "cyclist", make_shape(parts)
