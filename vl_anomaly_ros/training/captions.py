# SPDX-License-Identifier: Apache-2.0
"""What may truthfully be said of a simulated thing: names, synonyms and more general words, in templates."""

from __future__ import annotations

from collections.abc import Iterable

TEMPLATES = (
    "{}", "a photo of a {}.", "a picture of a {}.", "a {} on the road.", "a {} in a street scene.",
    "there is a {} ahead.", "a close-up of a {}.", "a small {} far away.", "the {}.", "one {} seen from a car.",
)  # fmt: skip

# Synonyms are as specific as the name; general words hold for several categories.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "road": ("street", "asphalt", "roadway", "lane"),
    "lane marking": ("road marking", "painted line", "lane line"),
    "sidewalk": ("pavement", "footpath", "kerb", "curb"),
    "terrain": ("grass", "ground", "lawn", "soil"),
    "building": ("house", "wall", "facade", "office block"),
    "fence": ("railing", "guard rail", "barrier fence"),
    "pole": ("lamp post", "street light", "post"),
    "traffic sign": ("road sign", "sign", "sign board"),
    "vegetation": ("tree", "bush", "hedge", "trees"),
    "sky": ("clouds", "blue sky", "heaven"),
    "car": ("automobile", "sedan", "passenger car"),
    "truck": ("lorry", "heavy goods vehicle"),
    "person": ("pedestrian", "human", "man", "woman"),
    "cyclist": ("bicycle rider", "bicycle", "bike"),
    "dog": ("puppy", "hound"),
    "cat": ("kitten",),
    "cow": ("cattle", "bull"),
    "horse": ("pony", "foal"),
    "deer": ("roe", "stag"),
    "sheep": ("lamb", "ram"),
    "pig": ("boar", "hog"),
    "goat": ("kid goat",),
    "moose": ("elk",),
    "fox": ("vixen",),
    "bear": ("grizzly",),
    "elephant": ("calf elephant",),
    "sofa": ("couch", "settee"),
    "chair": ("seat", "stool"),
    "armchair": ("easy chair",),
    "table": ("desk",),
    "mattress": ("bed mattress",),
    "bed": ("bed frame",),
    "wardrobe": ("closet", "cupboard"),
    "cabinet": ("cupboard",),
    "bookshelf": ("shelf", "bookcase"),
    "tyre": ("tire", "rubber tyre"),
    "tire": ("tyre", "rubber tyre"),
    "wheel": ("rim",),
    "box": ("cardboard box", "carton"),
    "cardboard box": ("box", "carton"),
    "crate": ("wooden crate",),
    "pallet": ("wooden pallet",),
    "ladder": ("step ladder",),
    "log": ("tree trunk", "timber"),
    "branch": ("fallen branch",),
    "rock": ("stone", "boulder"),
    "boulder": ("rock", "stone"),
    "stone": ("rock",),
    "suitcase": ("travel bag", "trolley case"),
    "bag": ("sack", "rubbish bag"),
    "backpack": ("rucksack",),
    "boat trailer": ("boat", "trailer with a boat"),
    "boat": ("dinghy", "motor boat"),
    "trailer": ("car trailer",),
    "caravan": ("camper",),
    "barrel": ("drum", "oil drum"),
    "bucket": ("pail",),
    "cone": ("traffic cone", "pylon"),
    "traffic cone": ("cone", "pylon"),
    "pipe": ("tube",),
    "brick": ("building brick",),
    "ball": ("football",),
    "shopping trolley": ("shopping cart", "trolley"),
    "wooden plank": ("plank", "board"),
    "garbage bag": ("rubbish bag", "trash bag"),
    "toilet": ("lavatory", "toilet bowl"),
    "wheelbarrow": ("barrow",),
    "bathtub": ("bath",),
    "fridge": ("refrigerator",),
    "refrigerator": ("fridge",),
    "washing machine": ("washer",),
    "exhaust pipe": ("muffler",),
    "debris": ("scrap", "fragments"),
    "bumper": ("car bumper",),
    "tarp": ("tarpaulin", "plastic sheet"),
    "toolbox": ("tool box",),
    "piano": ("grand piano",),
    "tent": ("camping tent",),
    "stroller": ("pram", "baby carriage"),
    "wheelchair": ("invalid chair",),
}

_GENERAL: dict[str, tuple[str, ...]] = {
    "animal": (
        "dog", "cat", "cow", "horse", "deer", "sheep", "pig", "goat", "moose", "fox", "bear", "elephant",
        "zebra", "giraffe", "camel", "donkey", "kangaroo", "rabbit", "hare", "bird", "goose", "duck", "swan",
        "chicken", "turtle", "crocodile", "lion", "wolf", "badger", "hedgehog", "boar", "wild boar", "llama",
        "ostrich", "rhino", "hippo",
    ),
    "wild animal": (
        "deer", "moose", "fox", "bear", "elephant", "zebra", "giraffe", "camel", "kangaroo", "wolf", "boar",
        "wild boar", "hare", "lion", "ostrich", "rhino", "hippo",
    ),
    "livestock": ("cow", "horse", "sheep", "pig", "goat", "donkey", "llama"),
    "bird": ("goose", "duck", "swan", "chicken", "ostrich"),
    "furniture": (
        "sofa", "chair", "armchair", "table", "mattress", "toilet", "bed", "wardrobe", "cabinet", "bookshelf", "desk",
        "stool", "bench", "lamp", "office chair", "dresser", "drawer",
    ),
    "household appliance": (
        "fridge", "refrigerator", "washing machine", "oven", "television", "microwave", "vacuum cleaner",
        "toaster",
    ),
    "luggage": ("suitcase", "bag", "backpack", "travel bag", "duffel bag", "handbag", "trunk"),
    "container": (
        "box", "cardboard box", "crate", "barrel", "bucket", "canister", "bin", "trash bin", "toolbox",
        "gas bottle", "gas cylinder", "jerrycan", "oil drum", "cooler", "garbage bag",
    ),
    "lost cargo": (
        "box", "cardboard box", "crate", "pallet", "ladder", "suitcase", "barrel", "pipe", "mattress", "sofa",
        "chair", "plank", "bag", "bucket", "toolbox", "table", "tarp", "beam", "roll", "hay bale", "cable drum",
        "wardrobe", "cabinet", "armchair", "surfboard", "canoe", "kayak", "log", "cable reel", "wooden plank",
    ),
    "debris": (
        "tyre", "tire", "wheel", "brick", "plank", "exhaust pipe", "bumper", "debris", "branch", "rock",
        "stone", "scrap metal", "metal sheet", "pipe", "broken glass", "bottle", "can", "beam", "rag", "tarp",
        "hubcap", "concrete block", "cinder block", "bolt", "shoe", "glove", "rubble", "retread", "log",
        "plastic bag", "muffler", "tile", "wooden plank", "garbage bag",
    ),
    "car part": ("tyre", "tire", "wheel", "bumper", "exhaust pipe", "hubcap", "muffler", "retread"),
    "wood": ("log", "branch", "wooden plank", "pallet", "crate", "tree trunk", "beam"),
    "trailer": ("boat trailer", "caravan", "horse trailer", "car trailer"),
    "watercraft": ("boat", "boat trailer", "canoe", "kayak", "dinghy"),
    "cart": ("shopping trolley", "wheelbarrow", "stroller"),
    "tool": ("ladder", "wheelbarrow", "shovel", "toolbox", "broom", "rake", "hammer"),
    "toy": ("ball", "teddy bear", "doll", "kite", "balloon", "toy car"),
    "vehicle": ("car", "truck", "bus", "van"),
    "nature": ("vegetation", "terrain"),
    "structure": ("building", "fence"),
    "street furniture": ("pole", "traffic sign"),
    "road works equipment": ("traffic cone", "barrel", "wheelbarrow"),
}  # fmt: skip

# Words that hold for whatever lies on a road and does not belong there.
ANOMALY_WORDS = ("obstacle", "foreign object", "hazard", "lost object", "unknown object")


def general_words(category: str) -> tuple[str, ...]:
    """Return the more general words that hold for a category."""
    return tuple(word for word, members in _GENERAL.items() if category in members)


def true_words(category: str, known: bool, extra: Iterable[str] = ()) -> tuple[str, ...]:
    """Return every word that is true of a category, its own name first.

    >>> true_words("sofa", known=False)[:4]
    ('sofa', 'couch', 'settee', 'furniture')
    """
    words = [category, *SYNONYMS.get(category, ()), *general_words(category), *extra]
    if not known:
        words += ANOMALY_WORDS
    return tuple(dict.fromkeys(words))


def corpus() -> list[str]:
    """Return the sentences the tokenizer learns from: every word in every template."""
    words = set(SYNONYMS) | {w for group in SYNONYMS.values() for w in group} | set(_GENERAL)
    words |= {w for group in _GENERAL.values() for w in group} | set(ANOMALY_WORDS)
    return [template.format(word) for word in sorted(words) for template in TEMPLATES]
