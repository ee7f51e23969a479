# SPDX-License-Identifier: Apache-2.0
"""The ground: gently bending middle line, road, markings, kerbs, terrain and the far horizon."""

from __future__ import annotations

import numpy as np

from .catalogue import class_index
from .meshes import Mesh, combine, ribbon, sheet
from .places import PLACES, Place
from .road_things import jitter, pick
from .scene import Colour, CrossSection, FloatArray, Part, ReferenceLine, SceneObject, Shape

Rng = np.random.Generator

_STEP_M = 1.0


def make_line(rng: Rng, length_m: float) -> ReferenceLine:
    """Middle line of `length_m` with radii of 120 m and more."""
    s = np.arange(0.0, length_m + _STEP_M, _STEP_M)
    bend = np.zeros_like(s)
    if rng.random() < 0.75:
        for _ in range(2):
            wave = float(rng.uniform(120, 300))
            bend += float(rng.uniform(-1, 1)) * 0.004 * np.sin(2 * np.pi * s / wave + float(rng.uniform(0, 2 * np.pi)))
    heading = np.concatenate([[0.0], np.cumsum(bend[:-1] * _STEP_M)])
    middle = heading[:-1] + bend[:-1] * _STEP_M / 2
    x = np.concatenate([[0.0], np.cumsum(np.cos(middle) * _STEP_M)])
    y = np.concatenate([[0.0], np.cumsum(np.sin(middle) * _STEP_M)])
    return ReferenceLine(s, x, y, heading)


def make_section(rng: Rng, style: str) -> CrossSection:
    """Cross-section for a style of `places.PLACES`."""
    place = PLACES[style]
    lane = float(rng.uniform(3.0, 3.6))
    if place.lanes:
        lanes, lane = int(rng.choice(place.lanes)), lane + 0.3
        left, right = (lane * lanes + shoulder for shoulder in place.shoulder_m)
        return CrossSection(lane, lanes, lanes, left, right, 0.0, 0.0, 0.0)
    left, right = (1, 1) if place.wide == 0 or rng.random() < 1 - place.wide else (int(rng.integers(1, 3)), 2)
    extra = [2.2 if rng.random() < place.parking else float(rng.uniform(0.15, 0.8)) for _ in range(2)]
    walks = [float(rng.uniform(1.6, 4.0)) if rng.random() < place.paved else 0.0 for _ in range(2)]
    kerb = float(rng.uniform(0.08, 0.16))
    return CrossSection(lane, left, right, lane * left + extra[0], lane * right + extra[1], walks[0], walks[1], kerb)


def layer(name: str, parts: list[Part]) -> SceneObject:
    """World-fixed object without instance."""
    vertices = np.concatenate([part.mesh.vertices for part in parts])
    shape = Shape(tuple(parts), vertices.min(axis=0), vertices.max(axis=0))
    return SceneObject(0, name, name, "known", class_index(name), shape)


def strip(
    line: ReferenceLine, s: FloatArray, d_left: float | FloatArray, d_right: float | FloatArray, z: float
) -> Mesh:
    """Level strip along the road between two offsets."""
    return ribbon(line.place(s, d_left, z), line.place(s, d_right, z))


def ground_layers(
    rng: Rng, line: ReferenceLine, section: CrossSection, style: str, *, patched: bool = True
) -> list[SceneObject]:
    """Road, lane markings, sidewalk, terrain and horizon; `patched` with plain repair patches as part of the road."""
    place = PLACES[style]
    layers = [_road(rng, line, section, place, patched), _markings(rng, line, section, place)]
    if section.sidewalk_left_m + section.sidewalk_right_m > 0:
        layers.append(_sidewalks(rng, line, section))
    return [*layers, *_terrain(rng, line, section, place)]


def _road(rng: Rng, line: ReferenceLine, section: CrossSection, place: Place, patched: bool) -> SceneObject:
    s = np.arange(0, line.s_m[-1] + 0.1, 2.0)
    grey = float(rng.uniform(0.32, 0.72))
    base: Colour = jitter(rng, (grey, grey, grey), 0.015)
    patches = []
    for _ in range(int(rng.integers(0, 14)) if patched else 0):
        start, d = (
            float(rng.uniform(0, line.s_m[-1] - 20)),
            float(rng.uniform(-section.half_right_m, section.half_left_m - 0.5)),
        )
        length, width = float(rng.choice([0.7, 2.0, 6.0, 15.0])), float(rng.uniform(0.3, 2.0))
        stations = np.linspace(start, start + length, 8)
        width = min(width, section.half_left_m - d)
        patches.append(strip(line, stations, d + width, d, 0.004))
    parts = [Part(strip(line, s, section.half_left_m, -section.half_right_m, 0.0), place.surface, base)]
    if patches:
        shade = float(rng.uniform(0.7, 1.25))
        parts.append(
            Part(
                combine(patches), "asphalt", (min(base[0] * shade, 1), min(base[1] * shade, 1), min(base[2] * shade, 1))
            )
        )
    return layer("road", parts)


def _markings(rng: Rng, line: ReferenceLine, section: CrossSection, place: Place) -> SceneObject:
    width, length = float(rng.uniform(0.1, 0.18)), line.s_m[-1]
    solid = np.arange(0, length, 2.0)
    dash, gap = float(rng.uniform(2, 5)), float(rng.uniform(3, 8))
    starts = np.arange(0, length - dash, dash + gap)

    def dashed(d: float) -> list[Mesh]:
        return [strip(line, np.linspace(a, a + dash, 3), d + width / 2, d - width / 2, 0.01) for a in starts]

    def full(d: float) -> list[Mesh]:
        return [strip(line, solid, d + width / 2, d - width / 2, 0.01)]

    middle = rng.random()
    meshes = dashed(0.0) if middle < 0.55 else full(0.0) if middle < 0.8 else full(0.12) + full(-0.12)
    if place.divided:
        meshes = full(0.4) + full(-0.4)
    for index in range(1, section.lanes_right):
        meshes += dashed(-index * section.lane_m)
    for index in range(1, section.lanes_left):
        meshes += dashed(index * section.lane_m)
    if place.edge_lines or rng.random() < 0.6:
        meshes += full(section.lanes_left * section.lane_m - 0.05) + full(-section.lanes_right * section.lane_m + 0.05)
    if place.zebras:
        for _ in range(int(rng.integers(0, 3))):  # zebra crossing
            at = float(rng.uniform(20, length - 20))
            for d in np.arange(-section.half_right_m + 0.4, section.half_left_m - 0.4, 1.0):
                meshes.append(strip(line, np.linspace(at, at + 3.0, 3), d + 0.5, d, 0.008))
    white = float(rng.uniform(0.75, 1.0))
    colour: Colour = (white, white, white) if rng.random() < 0.8 else (0.95, 0.78, 0.25)
    return layer("lane marking", [Part(combine(meshes), "plain", colour)])


def _sidewalks(rng: Rng, line: ReferenceLine, section: CrossSection) -> SceneObject:
    s, z = np.arange(0, line.s_m[-1] + 0.1, 2.0), section.kerb_m
    tops, kerbs = [], []
    for inner, width, sign in (
        (section.half_left_m, section.sidewalk_left_m, 1),
        (section.half_right_m, section.sidewalk_right_m, -1),
    ):
        if width == 0:
            continue
        near, stone, far = sign * inner, sign * (inner + 0.15), sign * (inner + width)
        tops.append(strip(line, s, *((stone, far) if sign < 0 else (far, stone)), z))
        kerbs.append(strip(line, s, *((near, stone) if sign < 0 else (stone, near)), z))
        top, bottom = line.place(s, near, z), line.place(s, near, -0.02)
        kerbs.append(ribbon(top, bottom) if sign > 0 else ribbon(bottom, top))
        top, bottom = line.place(s, far, z), line.place(s, far, -0.3)
        kerbs.append(ribbon(bottom, top) if sign > 0 else ribbon(top, bottom))
    grey = float(rng.uniform(0.5, 0.9))
    paving = pick(rng, ((grey, grey, grey), (grey, grey * 0.85, grey * 0.75), (grey * 0.9, grey * 0.9, grey)), 0.02)
    texture = str(rng.choice(["concrete", "brick", "concrete"]))
    edge = float(rng.uniform(0.55, 0.9))
    return layer(
        "sidewalk", [Part(combine(tops), texture, paving), Part(combine(kerbs), "concrete", (edge, edge, edge))]
    )


def _terrain(rng: Rng, line: ReferenceLine, section: CrossSection, place: Place) -> list[SceneObject]:
    s = np.arange(0, line.s_m[-1] + 0.1, 5.0)
    kind = str(rng.choice(["grass", "dirt", "concrete"], p=place.ground))
    colour = {
        "grass": pick(rng, ((0.38, 0.5, 0.2), (0.5, 0.55, 0.28), (0.62, 0.6, 0.32), (0.28, 0.42, 0.16)), 0.03),
        "dirt": pick(rng, ((0.6, 0.5, 0.38), (0.7, 0.6, 0.45), (0.5, 0.42, 0.34)), 0.03),
        "concrete": jitter(rng, (0.6, 0.58, 0.54), 0.04),
    }[kind]
    steps = np.array([0.0, 1.5, 4.0, 8.0, 14.0, 25.0, 45.0, 75.0])
    relief = place.relief_m * float(rng.uniform(0.3, 1.0))
    meshes = []
    for edge, sign in (
        (section.half_left_m + section.sidewalk_left_m, 1),
        (section.half_right_m + section.sidewalk_right_m, -1),
    ):
        wave = np.sin(s[:, None] / rng.uniform(15, 60) + rng.uniform(0, 6)) + rng.normal(0, 0.15, (len(s), len(steps)))
        lift = np.clip(steps - 3, 0, None) / 72
        height = -0.03 * (steps > 0) + relief * lift * (wave + 1.2 * float(rng.uniform(-0.2, 1.5)))
        points = line.place(s[:, None], sign * (edge + steps[None]), np.where(steps[None] == 0, 0.0, height))
        meshes.append(sheet(points if sign > 0 else np.ascontiguousarray(points[:, ::-1])))
    middle = line.place(line.s_m[-1] / 2, 0.0)
    # Haze is worked out at the corners of triangles, so the far plain needs many of them.
    x, y = np.meshgrid(np.linspace(-420, 420, 43), np.linspace(-420, 420, 43), indexing="ij")
    meshes.append(sheet(np.stack([x, y, np.full_like(x, -0.6)], -1) + middle))
    end_m = line.s_m[-1] / 2 + float(rng.uniform(25, 120))
    around = np.linspace(0, 2 * np.pi, 160)
    height = np.clip(np.cumsum(rng.normal(0, 1.6, 160)), -3, 6) + float(rng.uniform(7, 13))
    height[-1] = height[0]
    ring = np.stack([np.cos(around) * end_m, np.sin(around) * end_m, np.full(160, -2.0)], 1) + middle
    skyline = ribbon(ring, ring + np.stack([0 * around, 0 * around, height + 2], 1))
    leaf = pick(rng, ((0.25, 0.34, 0.18), (0.3, 0.36, 0.26), (0.4, 0.42, 0.24)), 0.03)
    return [
        layer("terrain", [Part(combine(meshes), kind, colour)]),
        layer("vegetation", [Part(skyline, "foliage", leaf)]),
    ]
