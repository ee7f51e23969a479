# SPDX-License-Identifier: Apache-2.0
"""What stands along a motorway and around an airport apron, beside what every road has."""

from __future__ import annotations

import numpy as np

from . import airside
from .meshes import Mesh, box, combine, limb, ribbon
from .road import layer, strip
from .road_things import pick
from .roadside import pole
from .scene import VOID_VALUE, FloatArray, Part, Scene, SceneObject, Shape, make_shape
from .world import Roadside, add_movable

Rng = np.random.Generator

STAND_PITCH_M = 44.0


def furnish(rng: Rng, scene: Scene, roadside: Roadside) -> None:
    """Add what the place of `scene` has beyond the common roadside."""
    if scene.style == "motorway":
        _barrier(rng, roadside)
        _gantries(rng, scene, roadside)
        _noise_walls(rng, roadside)
    elif scene.style == "apron":
        _stands(rng, scene, roadside)
        scene.objects.append(_apron_markings(scene))
        for _ in range(8):
            variant, shape = airside.service_vehicle(rng)
            add_movable(scene, "truck", variant, "known", shape)


def _barrier(rng: Rng, roadside: Roadside) -> None:
    """Concrete or steel along the middle of the motorway."""
    concrete = rng.random() < 0.5
    grey = float(rng.uniform(0.55, 0.8))
    for s in np.arange(0.0, roadside.length_m - 8, 8.0):
        if concrete:
            mesh = combine([box((8.02, 0.5, 0.3), (0, 0, 0.15)), box((8.02, 0.22, 0.7), (0, 0, 0.55))])
            part = Part(mesh, "concrete", (grey, grey, grey))
        else:
            posts = [limb((x, 0, 0), (x, 0, 0.8), 0.06, 0.06, points=6) for x in np.arange(-4, 4, 2.0)]
            beams = [box((8.02, 0.05, 0.14), (0, y, z)) for y in (-0.12, 0.12) for z in (0.5, 0.7)]
            part = Part(combine([*posts, *beams]), "metal", (grey, grey, grey), 0.3)
        roadside.add("fence", "wall" if concrete else "guardrail", make_shape([part]), float(s) + 4, 0.0)
    for s in np.arange(float(rng.uniform(5, 40)), roadside.length_m, 45.0):
        if rng.random() < 0.5:
            variant, shape = pole(rng)
            if variant == "street lamp":
                roadside.add("pole", variant, shape, float(s), 0.0, yaw_rad=np.pi / 2)


def _gantries(rng: Rng, scene: Scene, roadside: Roadside) -> None:
    """Boards that hang over the lanes."""
    right = scene.section.half_right_m
    for s in np.arange(float(rng.uniform(30, 90)), roadside.length_m - 20, float(rng.uniform(80, 130))):
        span = right + 0.6
        frame: list[Mesh] = [box((0.35, span, 0.5), (0, 0, 6.4))]
        frame += [limb((0, y * span / 2, 0), (0, y * span / 2, 6.5), 0.22, 0.18) for y in (-1, 1)]
        roadside.add("pole", "gantry", make_shape([Part(combine(frame), "metal", (0.6, 0.62, 0.63))]), float(s),
                     -span / 2 + 0.1)  # fmt: skip
        colour = pick(rng, ((0.05, 0.2, 0.6), (0.04, 0.38, 0.2)), 0.03)
        count = int(rng.integers(1, 3))
        for index in range(count):
            width = float(rng.uniform(2.4, 3.4))
            board = box((0.08, width, 1.9), (0, 0, 0.95))
            bars = [box((0.1, width * k, 0.16), (-0.01, 0, z)) for k, z in ((0.7, 1.45), (0.5, 1.0), (0.62, 0.55))]
            shape = make_shape([Part(board, "plain", colour), Part(combine(bars), "plain", (0.95, 0.95, 0.95))])
            roadside.add("traffic sign", "board sign", _lifted(shape, 5.4), float(s) - 0.3,
                         -span * (index + 0.6) / count)  # fmt: skip


def _lifted(shape: Shape, up_m: float) -> Shape:
    shift: FloatArray = np.array([0.0, 0.0, up_m])
    parts = tuple(Part(p.mesh.moved(shift), p.texture, p.colour, p.shine, p.glow) for p in shape.parts)
    return Shape(parts, shape.low_m + shift, shape.high_m + shift)


def _noise_walls(rng: Rng, roadside: Roadside) -> None:
    for side in (1, -1):
        if rng.random() < 0.5:
            continue
        start, height = float(rng.uniform(0, 120)), float(rng.uniform(2.5, 4.5))
        colour = pick(rng, ((0.5, 0.55, 0.42), (0.62, 0.6, 0.55), (0.45, 0.32, 0.24)))
        texture = str(rng.choice(["concrete", "planks", "bars"]))
        for s in np.arange(start, min(start + float(rng.uniform(60, 160)), roadside.length_m - 8), 8.0):
            shape = make_shape([Part(box((8.02, 0.25, height), (0, 0, height / 2)), texture, colour)])
            roadside.add("fence", "wall", shape, float(s) + 4, side * (roadside.edge_m[side] + 2.5))


def _stands(rng: Rng, scene: Scene, roadside: Roadside) -> None:
    """Aircraft nose-in on the left with bridges and masts between; an aircraft has no known class: void."""
    line = scene.line
    for s in np.arange(26.0, roadside.length_m - 24, STAND_PITCH_M):
        heading = float(line.heading(s))
        if rng.random() < 0.75:
            shape = airside.aircraft(rng)
            d = 13.0 + shape.size_m[0] / 2
            scene.objects.append(SceneObject(0, "aircraft", "aircraft", "known", VOID_VALUE, shape,
                                             line.place(s, d), heading - np.pi / 2))  # fmt: skip
        if rng.random() < 0.5:
            roadside.add("building", "passenger bridge", airside.passenger_bridge(rng), float(s) + 13,
                         scene.section.half_left_m - 13, yaw_rad=-np.pi / 2)  # fmt: skip
        roadside.add("pole", "light mast", airside.light_mast(rng), float(s) + STAND_PITCH_M / 2, 16.0)


def _apron_markings(scene: Scene) -> SceneObject:
    """Lead-in lines in yellow, the edge of the stands in red, equipment boxes in white."""
    line = scene.line
    end = float(line.s_m[-1])
    yellow, red, white = [], [], []
    long = np.arange(0.0, end, 2.0)
    red.append(strip(line, long, 11.2, 11.0, 0.012))
    for s in np.arange(26.0, end - 24, STAND_PITCH_M):
        across = np.array([s - 0.12, s + 0.12])
        yellow.append(strip(line, across, 46.0, 8.0, 0.013))
        # The last 12 m bend into the service road.
        turn = np.linspace(0.0, 1.0, 10)
        bend = s - 9.0 * (1 - turn) ** 2
        left, right = line.place(bend - 0.12, 2.0 + 6.0 * turn, 0.013), line.place(bend + 0.12, 2.0 + 6.0 * turn, 0.013)
        yellow.append(ribbon(left, right))
        red += [strip(line, s + offset + np.array([-0.1, 0.1]), 46.0, 11.0, 0.012) for offset in (-17.0, 17.0)]
        white += [strip(line, s + offset + np.array([-0.06, 0.06]), 22.0, 14.0, 0.011) for offset in (10.0, 14.0)]
        white += [strip(line, s + np.array([10.0, 14.0]), d + 0.06, d - 0.06, 0.011) for d in (14.0, 22.0)]
    return layer("lane marking", [Part(combine(yellow), "plain", (0.92, 0.74, 0.12)),
                                  Part(combine(red), "plain", (0.75, 0.14, 0.1)),
                                  Part(combine(white), "plain", (0.9, 0.9, 0.9))])  # fmt: skip
