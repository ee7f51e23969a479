# SPDX-License-Identifier: Apache-2.0
"""From a seed to a scene: what stands along the road, and the pool of things that may stand or move on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from . import road_things, roadside
from .catalogue import AnomalyCategory, class_index
from .looks import make_look
from .meshes import Mesh, box, combine, limb
from .places import PLACES, STYLES
from .road import ground_layers, make_line, make_section
from .road_things import any_colour, pick
from .scene import ANOMALY_VALUE, Part, Scene, SceneObject, Shape, make_shape
from .textures import make_textures

Rng = np.random.Generator


class Roadside:
    """Places known things along the road; hands out instance numbers in order."""

    def __init__(self, rng: Rng, scene: Scene) -> None:
        self.rng, self.scene, self.place = rng, scene, PLACES[scene.style]
        self.length_m = float(scene.line.s_m[-1])
        section = scene.section
        self.edge_m = {
            1: section.half_left_m + section.sidewalk_left_m,
            -1: section.half_right_m + section.sidewalk_right_m,
        }
        self.kerb_m = {1: section.half_left_m, -1: section.half_right_m}

    def add(self, name: str, variant: str, shape: Shape, s_m: float, d_m: float, *, yaw_rad: float = 0.0) -> None:
        """Stand a known thing at arc length `s_m` and offset `d_m`, turned by `yaw_rad` from the road's heading."""
        line = self.scene.line
        position = line.place(s_m, d_m, self.scene.section.height(d_m))
        self.scene.objects.append(
            SceneObject(
                next_instance(self.scene),
                name,
                variant,
                "known",
                class_index(name),
                shape,
                position,
                float(line.heading(s_m)) + yaw_rad,
            )
        )

    def fill(self) -> None:
        """Place what stands along every road of the place."""
        for side in (1, -1):
            self._fences(side)
            self._buildings(side)
            if self.place.lit_and_signed:
                self._poles(side)
                self._signs(side)
            self._plants(side)
            if self.place.parking > 0:
                self._parked(side)

    def _buildings(self, side: int) -> None:
        rng, place = self.rng, self.place
        s = float(rng.uniform(0, 10))
        while s < self.length_m:
            variant, shape = roadside.building(rng, urban=place.blocks)
            setback = float(rng.uniform(0.3, 3.0) if place.blocks else rng.uniform(4, 14))
            if rng.random() < place.building_chance:
                yaw = np.pi if side < 0 else 0.0
                self.add("building", variant, shape, s + shape.size_m[0] / 2,
                         side * (self.edge_m[side] + setback + shape.size_m[1] / 2), yaw_rad=yaw)  # fmt: skip
            s += float(shape.size_m[0] + rng.choice([0.2, rng.uniform(1, 6), rng.uniform(5, 20)]))

    def _fences(self, side: int) -> None:
        rng = self.rng
        if rng.random() > self.place.fence_chance:
            return
        kind = str(rng.choice(["wall", "planks", "rails", "guardrail", "bars"]))
        if self.place.open_country:
            kind = str(rng.choice(["guardrail", "rails", "guardrail", "wall"]))
        build = _fence_builder(rng, kind)
        offset = self.edge_m[side] + float(rng.uniform(0.2, 1.0))
        for s in np.arange(float(rng.uniform(0, 60)), self.length_m - 8, 8.0):
            if rng.random() < 0.85:
                self.add(
                    "fence",
                    "wall" if kind == "wall" else kind if kind == "guardrail" else "fence",
                    build(8.02),
                    s + 4,
                    side * offset,
                )

    def _poles(self, side: int) -> None:
        rng = self.rng
        step = float(rng.uniform(18, 45))
        for s in np.arange(float(rng.uniform(3, step)), self.length_m, step):
            variant, shape = roadside.pole(rng)
            walk = self.edge_m[side] - self.kerb_m[side]
            d = self.kerb_m[side] + (0.45 if walk > 1 else float(rng.uniform(0.6, 1.5)))
            self.add("pole", variant, shape, s, side * d, yaw_rad=np.pi if side > 0 else 0.0)

    def _signs(self, side: int) -> None:
        rng = self.rng
        for s in np.sort(rng.uniform(5, self.length_m, int(self.length_m / rng.uniform(20, 50)))):
            yaw = float(rng.normal(0, 0.1)) + (np.pi if side > 0 and rng.random() < 0.6 else 0.0)
            for name, variant, shape in roadside.traffic_sign(rng):
                self.add(name, variant, shape, float(s), side * (self.kerb_m[side] + 0.6), yaw_rad=yaw)

    def _plants(self, side: int) -> None:
        rng, place = self.rng, self.place
        for build, per_100_m, reach in (
            (roadside.tree, place.trees_per_100_m, 30.0),
            (roadside.bush, place.bushes_per_100_m, 12.0),
        ):  # fmt: skip
            for s in rng.uniform(0, self.length_m, rng.poisson(per_100_m * self.length_m / 100)):
                variant, shape = build(rng)
                beside = float(rng.exponential(reach / 3))
                d = self.edge_m[side] + place.plants_from_m + beside + 0.25 * float(shape.size_m[1])
                self.add("vegetation", variant, shape, float(s), side * d, yaw_rad=float(rng.uniform(0, 6.28)))

    def _parked(self, side: int) -> None:
        rng, section = self.rng, self.scene.section
        lanes = section.lanes_left if side > 0 else section.lanes_right
        if self.kerb_m[side] - lanes * section.lane_m < 2.0:
            return
        s = float(rng.uniform(5, 30))
        while s < self.length_m - 6:
            variant, shape = road_things.car(rng)
            if rng.random() < 0.6:
                yaw = (np.pi if side > 0 else 0.0) + float(rng.normal(0, 0.02))
                self.add("car", variant, shape, s, side * (self.kerb_m[side] - 1.1), yaw_rad=yaw)
            s += float(rng.uniform(5.6, 9.0))


def _fence_builder(rng: Rng, kind: str) -> Callable[[float], Shape]:
    height = float(rng.uniform(0.9, 2.0))
    colour = (
        any_colour(rng, 0.3, 0.9)
        if rng.random() < 0.4
        else pick(rng, ((0.7, 0.66, 0.6), (0.55, 0.4, 0.3), (0.85, 0.84, 0.8)))
    )
    texture = str(rng.choice(["brick", "concrete", "plain"]))
    wood = pick(rng, ((0.6, 0.45, 0.3), (0.85, 0.82, 0.76), (0.4, 0.3, 0.22)))
    grey = float(rng.uniform(0.5, 0.75))

    def build(length: float) -> Shape:
        if kind == "wall":
            cap = box((length, 0.34, 0.08), (0, 0, height))
            return make_shape(
                [Part(box((length, 0.24, height), (0, 0, height / 2)), texture, colour), Part(cap, "concrete", wood)]
            )
        if kind in ("planks", "bars"):
            return make_shape([Part(box((length, 0.08, height), (0, 0, height / 2)), kind, wood)])
        posts: list[Mesh] = [
            limb((x, 0, 0), (x, 0, 0.8), 0.06, 0.06, points=6) for x in np.arange(-length / 2, length / 2, 2.0)
        ]
        if kind == "guardrail":
            beam = combine([box((length, 0.05, 0.12), (0, 0.06, z)) for z in (0.5, 0.68)])
            return make_shape([Part(combine([*posts, beam]), "metal", (grey, grey, grey), 0.3)])
        rails = [box((length, 0.05, 0.1), (0, 0, z)) for z in (0.35, 0.75)]
        pickets = [box((0.09, 0.03, 0.85), (x, 0.03, 0.48)) for x in np.arange(-length / 2 + 0.1, length / 2, 0.22)]
        return make_shape([Part(combine([*posts, *rails, *pickets]), "wood", wood)])

    return build


def next_instance(scene: Scene) -> int:
    """The number for the next object with an instance, from 1."""
    return 1 + max((thing.instance for thing in scene.objects), default=0)


def add_movable(scene: Scene, name: str, variant: str, split: str, shape: Shape) -> SceneObject:
    """Add a thing to the pool, not placed yet."""
    semantic = class_index(name) if split == "known" else ANOMALY_VALUE
    thing = SceneObject(next_instance(scene), name, variant, split, semantic, shape, movable=True, placed=False)
    scene.objects.append(thing)
    return thing


_TRAFFIC: dict[str, Callable[[Rng], tuple[str, Shape]]] = {
    "car": road_things.car,
    "truck": road_things.truck,
    "person": road_things.person,
    "cyclist": road_things.cyclist,
}


def add_traffic(rng: Rng, scene: Scene) -> None:
    """The pool of movable known things that fits the place."""
    for name, count in PLACES[scene.style].traffic.items():
        for _ in range(count):
            variant, shape = _TRAFFIC[name](rng)
            add_movable(scene, name, variant, "known", shape)


def draw_categories(rng: Rng, categories: Sequence[AnomalyCategory], count: int) -> list[AnomalyCategory]:
    """`count` rows, each once before any comes twice."""
    order: list[int] = []
    while len(order) < count and categories:
        order.extend(int(i) for i in rng.permutation(len(categories)))
    return [categories[index] for index in order[:count]]


def make_scene(
    seed: int,
    *,
    categories: Sequence[AnomalyCategory] = (),
    anomaly_count: int = 0,
    length_m: float = 260.0,
    style: str | None = None,
    look: str | None = None,
    traffic: bool = True,
) -> Scene:
    """The scene of `seed`: ground, roadside, and a pool of traffic and of `anomaly_count` anomalies of `categories`.

    Args:
        seed: every number in the scene follows from it.
        categories: rows of the catalogue to draw anomalies from; each comes once before any comes twice.
        anomaly_count: size of the pool of anomalies.
        length_m: length of road.
        style: one of `places.STYLES`; drawn when None.
        look: one of `looks.LOOKS`; drawn when None.
        traffic: whether a pool of movable cars, trucks, people and cyclists is made.
    """
    rng = np.random.default_rng([seed, 0x5EED])
    chosen = style if style is not None else str(rng.choice(STYLES, p=[0.4, 0.35, 0.25]))
    line, section = make_line(rng, length_m), make_section(rng, chosen)
    scene = Scene(seed, make_look(rng, look), make_textures(rng), [], line, section, chosen)
    scene.objects.extend(ground_layers(rng, line, section, chosen))
    Roadside(rng, scene).fill()
    if traffic:
        add_traffic(rng, scene)
    for row in draw_categories(rng, categories, anomaly_count):
        add_movable(scene, row.name, row.name, row.split, row.build(rng, float(rng.uniform(*row.size_m))))
    return scene
