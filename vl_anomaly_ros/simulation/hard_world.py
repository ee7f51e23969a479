# SPDX-License-Identifier: Apache-2.0
"""Scenes of the hard world: more places, harder light, exemplars that differ more from each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .catalogue import AnomalyCategory
from .far_places import furnish
from .hard_looks import draw_hard_look, make_hard_look
from .places import HARD_SHARES, HARD_STYLES
from .road import ground_layers, make_line, make_section
from .scene import Scene
from .textures import make_textures
from .vary import vary
from .world import Roadside, add_movable, add_traffic, draw_categories


def make_hard_scene(
    seed: int,
    *,
    categories: Sequence[AnomalyCategory] = (),
    anomaly_count: int = 0,
    length_m: float = 260.0,
    style: str | None = None,
    look: str | None = None,
) -> Scene:
    """The scene of `seed` in the hard world; it shares nothing with the standard world's scene of that seed.

    Args:
        seed: every number in the scene follows from it.
        categories: rows of the catalogue to draw anomalies from; each comes once before any comes twice.
        anomaly_count: size of the pool of anomalies.
        length_m: length of road.
        style: one of `places.HARD_STYLES`; drawn when None.
        look: one of `hard_looks.HARD_LOOKS`; drawn when None.
    """
    rng = np.random.default_rng([seed, 0x4A6D])
    # Drawn in any case, so that naming one changes nothing else.
    drawn_style, drawn_look = str(rng.choice(HARD_STYLES, p=HARD_SHARES)), draw_hard_look(rng)
    chosen = style if style is not None else drawn_style
    line, section = make_line(rng, length_m), make_section(rng, chosen)
    weather = make_hard_look(rng, look if look is not None else drawn_look, float(line.heading_rad.mean()))
    scene = Scene(seed, weather, make_textures(rng), [], line, section, chosen)
    scene.objects.extend(ground_layers(rng, line, section, chosen, patched=False))
    roadside = Roadside(rng, scene)
    roadside.fill()
    add_traffic(rng, scene)
    furnish(rng, scene, roadside)
    for row in draw_categories(rng, categories, anomaly_count):
        shape = vary(rng, row.build(rng, float(rng.uniform(*row.size_m))))
        add_movable(scene, row.name, row.name, row.split, shape)
    return scene
