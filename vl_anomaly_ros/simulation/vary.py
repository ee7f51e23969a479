# SPDX-License-Identifier: Apache-2.0
"""Another exemplar of the same thing: bent, dented, stretched, in another material and colour."""

from __future__ import annotations

import numpy as np

from .meshes import Mesh
from .road_things import any_colour, jitter
from .scene import FloatArray, Part, Shape, make_shape

Rng = np.random.Generator

_FAMILIES: tuple[tuple[str, ...], ...] = (
    ("plain", "metal", "rust", "bars"), ("wood", "planks", "bark", "cardboard"), ("fur", "wool", "spots"),
    ("fabric", "weave", "plain"), ("rock", "concrete", "dirt"), ("hay", "grass"),
)  # fmt: skip
_LIVING = ("fur", "wool", "spots")


def vary(rng: Rng, shape: Shape) -> Shape:
    """`shape` changed within what still is the same kind of thing; its largest extent stays within a quarter."""
    stretch = np.exp(rng.normal(0, 0.09, 3)).clip(0.8, 1.25)
    waves = rng.normal(0, 1.0, (3, 3))
    phase = rng.uniform(0, 2 * np.pi, 3)
    amount = float(rng.uniform(0.0, 0.03)) * float(shape.size_m.max())
    living = any(part.texture in _LIVING for part in shape.parts)
    return make_shape([_part(rng, part, stretch, waves, phase, amount, shape.size_m, living) for part in shape.parts])


def _part(
    rng: Rng, part: Part, stretch: FloatArray, waves: FloatArray, phase: FloatArray, amount: float, size_m: FloatArray,
    living: bool,
) -> Part:  # fmt: skip
    mesh = part.mesh.scaled(stretch)
    at = mesh.vertices / np.maximum(size_m, 0.05)
    moved = mesh.vertices + amount * np.sin(at @ (4.0 * waves) + phase)
    texture = part.texture
    for family in _FAMILIES:
        if texture in family and rng.random() < 0.35:
            texture = str(rng.choice(family))
            break
    # Animals keep near their colours; goods come in any.
    colour = any_colour(rng) if not living and rng.random() < 0.2 else jitter(rng, part.colour, 0.07)
    return Part(Mesh(moved, mesh.faces, mesh.uv, mesh.normals), texture, colour, part.shine, part.glow)
