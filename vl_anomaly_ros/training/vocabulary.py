# SPDX-License-Identifier: Apache-2.0
"""The vocabulary a trained bundle ships with: known classes in merge groups, OOD prompts, candidate names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vl_anomaly_ros.training.captions import ANOMALY_WORDS, SYNONYMS, general_words

# Classes that overlap in meaning or at their borders share their probability.
GROUPS = {
    "road": "ground", "lane marking": "ground", "sidewalk": "ground",
    "terrain": "greenery", "vegetation": "greenery",
    "building": "structure", "fence": "structure",
    "pole": "roadside post", "traffic sign": "roadside post",
    "car": "motor vehicle", "truck": "motor vehicle",
    "person": "people", "cyclist": "people",
}  # fmt: skip
MAX_SYNONYMS = 2


def make_vocabulary(known: Iterable[str], taught: Iterable[str]) -> dict[str, Any]:
    """Return the contents of vocabulary.yaml.

    Args:
        known: the segmenter's classes in order.
        taught: anomaly categories that CLIP was trained on.
    """
    known, taught = list(known), sorted(taught)
    general = sorted({word for name in taught for word in general_words(name)} - set(known))
    ood = list(dict.fromkeys([*general, *ANOMALY_WORDS, *taught]))
    return {
        "name": "simulated-road",
        "known": [
            {
                "name": name,
                "group": GROUPS.get(name, name),
                "synonyms": [w for w in SYNONYMS.get(name, ())[:MAX_SYNONYMS] if w not in known],
            }
            for name in known
        ],
        "ood_prompts": ood,
        # Names of things alone: beside "dog", a general "animal" takes half of its confidence and says less.
        "candidates": taught,
    }
