# SPDX-License-Identifier: Apache-2.0
"""The words of the simulated world: known classes in their fixed order, and the table of anomaly categories.

To add an anomaly, write a builder `(rng, size_m) -> Shape` and add one row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import animals, debris, furniture
from .scene import Shape

KNOWN_CLASSES: tuple[str, ...] = (
    "road", "lane marking", "sidewalk", "terrain", "building", "fence", "pole", "traffic sign", "vegetation", "sky",
    "car", "truck", "person", "cyclist",
)  # fmt: skip
"""Classes of the segmenter; the position is the value in semantic pictures. Kerbs belong to the sidewalk."""

Builder = Callable[[np.random.Generator, float], Shape]


@dataclass(frozen=True)
class AnomalyCategory:
    """One row of the catalogue.

    Attributes:
        name: the word for it, also used in captions.
        split: "seen" by the CLIP pre-training but never by the segmenter, or "unseen" by either.
        build: makes one exemplar of the size given.
        size_m: smallest and largest size; what it measures (length, height) is the builder's affair.
        speed_mps: how fast it may move of its own.
    """

    name: str
    split: str
    build: Builder
    size_m: tuple[float, float]
    speed_mps: float = 0.0


ANOMALIES: tuple[AnomalyCategory, ...] = (
    AnomalyCategory("dog", "seen", animals.dog, (0.35, 0.75), 2.0),
    AnomalyCategory("deer", "seen", animals.deer, (0.9, 1.3), 4.0),
    AnomalyCategory("cow", "seen", animals.cow, (1.25, 1.55), 1.0),
    AnomalyCategory("sheep", "seen", animals.sheep, (0.65, 0.9), 1.0),
    AnomalyCategory("sofa", "seen", furniture.sofa, (0.95, 2.2)),
    AnomalyCategory("chair", "seen", furniture.chair, (0.8, 1.1)),
    AnomalyCategory("table", "seen", furniture.table, (0.8, 1.7)),
    AnomalyCategory("mattress", "seen", furniture.mattress, (1.8, 2.1)),
    AnomalyCategory("toilet", "seen", furniture.toilet, (0.7, 0.85)),
    AnomalyCategory("wardrobe", "seen", furniture.armoire, (0.8, 2.0)),
    AnomalyCategory("suitcase", "seen", furniture.suitcase, (0.5, 0.8)),
    AnomalyCategory("shopping trolley", "seen", furniture.shopping_trolley, (0.85, 1.05)),
    AnomalyCategory("tyre", "seen", debris.tyre, (0.55, 1.1)),
    AnomalyCategory("cardboard box", "seen", debris.cardboard_box, (0.3, 0.9)),
    AnomalyCategory("ladder", "seen", debris.ladder, (2.0, 4.0)),
    AnomalyCategory("log", "seen", debris.log, (1.2, 4.0)),
    AnomalyCategory("boat trailer", "seen", debris.boat_trailer, (3.8, 5.5)),
    AnomalyCategory("wheelbarrow", "seen", debris.wheelbarrow, (1.3, 1.6)),
    AnomalyCategory("traffic cone", "seen", debris.traffic_cone, (0.45, 1.0)),
    AnomalyCategory("barrel", "seen", debris.barrel, (0.6, 1.0)),
    AnomalyCategory("wooden plank", "seen", debris.plank, (1.0, 2.8)),
    AnomalyCategory("garbage bag", "seen", debris.garbage_bag, (0.4, 0.8)),
    AnomalyCategory("ball", "seen", debris.ball, (0.2, 0.7)),
    AnomalyCategory("pipe", "seen", debris.pipe, (1.2, 3.5)),
    AnomalyCategory("horse", "unseen", animals.horse, (1.3, 1.7), 3.0),
    AnomalyCategory("wild boar", "unseen", animals.wild_boar, (0.6, 1.0), 3.0),
    AnomalyCategory("kangaroo", "unseen", animals.kangaroo, (1.1, 1.7), 3.0),
    AnomalyCategory("goose", "unseen", animals.goose, (0.6, 1.0), 0.5),
    AnomalyCategory("tortoise", "unseen", animals.tortoise, (0.25, 0.6), 0.1),
    AnomalyCategory("bathtub", "unseen", furniture.bathtub, (1.4, 1.8)),
    AnomalyCategory("fridge", "unseen", furniture.fridge, (0.9, 1.9)),
    AnomalyCategory("piano", "unseen", furniture.piano, (1.35, 1.6)),
    AnomalyCategory("stroller", "unseen", furniture.stroller, (0.9, 1.1)),
    AnomalyCategory("rock", "unseen", debris.rock, (0.3, 1.4)),
    AnomalyCategory("hay bale", "unseen", debris.hay_bale, (0.9, 1.5)),
    AnomalyCategory("pallet", "unseen", debris.pallet, (1.0, 1.3)),
    AnomalyCategory("gas canister", "unseen", debris.gas_canister, (0.45, 1.2)),
    AnomalyCategory("brick", "unseen", debris.brick, (0.1, 0.3)),
    AnomalyCategory("surfboard", "unseen", debris.surfboard, (1.7, 2.7)),
    AnomalyCategory("tent", "unseen", debris.tent, (1.6, 2.6)),
    AnomalyCategory("cable drum", "unseen", debris.cable_drum, (0.6, 1.4)),
)


def anomaly_categories(which: str) -> tuple[AnomalyCategory, ...]:
    """Rows of the split `which`: "none", "seen", "unseen" or "all"."""
    if which == "all":
        return ANOMALIES
    return tuple(row for row in ANOMALIES if row.split == which)


def class_index(name: str) -> int:
    """Semantic value of a known class."""
    return KNOWN_CLASSES.index(name)
