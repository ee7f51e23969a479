# SPDX-License-Identifier: Apache-2.0
"""Kinds of surroundings as rows of numbers: how wide the road is, what stands beside it, who is about."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Place:
    """One kind of surroundings; chances are 0..1.

    Attributes:
        building_chance: that a plot is built on; `blocks` are town houses at the kerb, else houses set back.
        fence_chance: that a side is fenced; `open_country` fences with rails and guard rails.
        trees_per_100_m, bushes_per_100_m: on either side, from `plants_from_m` behind the road's edge.
        wide: chance of more than one lane a side.
        parking, paved: chances of a parking lane and of a sidewalk on either side.
        edge_lines: whether the road's edges are always marked; `zebras` whether it has crossings.
        divided: a barrier in the middle instead of a centre line.
        lanes: a side where the number is fixed, else 0; `shoulder_m` to the left and right of them.
        ground: chances of grass, dirt, concrete beside the road; `relief_m` how hilly it is.
        lit_and_signed: whether lamps and signs stand along the road.
        surface: texture of the road.
        traffic: movable things of each class in the pool.
    """

    building_chance: float
    blocks: bool
    fence_chance: float
    trees_per_100_m: int
    bushes_per_100_m: int
    plants_from_m: float
    parking: float
    paved: float
    relief_m: float
    ground: tuple[float, float, float] = (0.75, 0.25, 0.0)
    wide: float = 0.0
    open_country: bool = False
    edge_lines: bool = False
    zebras: bool = True
    divided: bool = False
    lanes: tuple[int, ...] = ()
    shoulder_m: tuple[float, float] = (0.0, 0.0)
    lit_and_signed: bool = True
    surface: str = "asphalt"
    traffic: dict[str, int] = field(default_factory=lambda: {"car": 7, "truck": 3, "person": 8, "cyclist": 3})


_TOWN = (0.5, 0.2, 0.3)
PLACES: dict[str, Place] = {
    "urban": Place(0.95, True, 0.25, 4, 2, 1.0, 0.8, 1.0, 0.2, _TOWN, wide=0.4),
    "suburban": Place(0.7, False, 0.7, 8, 8, 1.8, 0.4, 0.75, 0.8),
    "rural": Place(0.12, False, 0.5, 14, 9, 1.8, 0.0, 0.0, 2.5, open_country=True, edge_lines=True, zebras=False),
    "city": Place(0.97, True, 0.15, 5, 2, 1.0, 0.85, 1.0, 0.2, _TOWN, wide=0.6,
                  traffic={"car": 12, "truck": 5, "person": 22, "cyclist": 7}),
    "motorway": Place(0.05, False, 1.0, 12, 9, 5.0, 0.0, 0.0, 2.0, open_country=True, edge_lines=True, zebras=False,
                      divided=True, lanes=(2, 3), shoulder_m=(0.7, 2.9), lit_and_signed=False,
                      traffic={"car": 14, "truck": 8, "person": 1, "cyclist": 0}),
    "apron": Place(0.8, True, 0.0, 2, 2, 30.0, 0.0, 0.0, 0.2, (0.5, 0.0, 0.5), edge_lines=True, zebras=False,
                   lanes=(1,), shoulder_m=(52.0, 9.0), lit_and_signed=False, surface="concrete",
                   traffic={"car": 3, "truck": 3, "person": 10, "cyclist": 0}),
}  # fmt: skip

STYLES: tuple[str, ...] = ("urban", "suburban", "rural")
"""Places of the standard world."""
HARD_STYLES: tuple[str, ...] = ("city", "suburban", "rural", "motorway", "apron")
"""Places of the hard world."""
HARD_SHARES: tuple[float, ...] = (0.3, 0.2, 0.2, 0.16, 0.14)
