# SPDX-License-Identifier: Apache-2.0
"""How often an anomaly gets its right name: the very word, or one that means the same."""

from __future__ import annotations

from dataclasses import dataclass

SYNONYMS: tuple[frozenset[str], ...] = tuple(
    frozenset(words)
    for words in (
        ("ball", "football", "soccer ball", "basketball", "beach ball"),
        ("barrel", "drum", "oil drum", "keg", "cask"),
        ("bathtub", "bath", "tub"),
        ("bicycle", "bike", "pushbike", "cycle"),
        ("boat trailer", "boat on a trailer"),
        ("brick", "bricks", "paving stone", "cinder block", "concrete block"),
        ("cable drum", "cable reel", "cable spool", "wire spool"),
        ("cardboard box", "box", "carton", "package", "parcel"),
        ("chair", "armchair", "seat", "stool"),
        ("cow", "bull", "cattle", "ox", "calf"),
        ("deer", "stag", "roe deer", "doe", "fawn"),
        ("dog", "puppy", "hound"),
        ("fridge", "refrigerator", "freezer"),
        ("garbage bag", "trash bag", "bin bag", "rubbish bag", "refuse sack"),
        ("gas canister", "gas cylinder", "gas bottle", "propane tank"),
        ("goose", "geese", "duck", "swan"),
        ("hay bale", "straw bale", "bale", "bale of hay"),
        ("horse", "pony", "foal", "mare"),
        ("kangaroo", "wallaby"),
        ("ladder", "stepladder"),
        ("log", "tree trunk", "trunk", "timber"),
        ("mattress", "bed"),
        ("motorcycle", "motorbike", "moped", "scooter"),
        ("pallet", "wooden pallet", "skid"),
        ("piano", "grand piano", "upright piano"),
        ("pipe", "tube", "pipeline"),
        ("rock", "boulder", "stone"),
        ("sheep", "lamb", "ram", "ewe"),
        ("shopping trolley", "shopping cart", "trolley"),
        ("sofa", "couch", "settee"),
        ("stroller", "pram", "pushchair", "baby carriage", "buggy"),
        ("suitcase", "luggage", "trunk case", "travel bag"),
        ("surfboard", "board"),
        ("table", "desk"),
        ("tent", "camping tent"),
        ("toilet", "toilet bowl", "lavatory"),
        ("tortoise", "turtle"),
        ("traffic cone", "cone", "pylon", "road cone"),
        ("train", "tram", "railway carriage", "locomotive"),
        ("tyre", "tire", "wheel", "car tyre", "car tire"),
        ("wardrobe", "armoire", "cupboard", "closet", "cabinet"),
        ("wheelbarrow", "barrow", "handcart"),
        ("wild boar", "boar", "pig", "wild pig", "hog"),
        ("wooden plank", "plank", "beam", "lumber"),
    )
)
"""Words that a person on the road would take for the same thing. A word may be in one set alone."""

_SET_OF = {word: number for number, words in enumerate(SYNONYMS) for word in words}


def same_meaning(one: str, other: str) -> bool:
    """Whether two names are the same word, upper and lower case alike, or in one set of `SYNONYMS`.

    >>> same_meaning("Sofa", "couch"), same_meaning("sofa", "dog"), same_meaning("gizmo", "gizmo")
    (True, False, True)
    """
    one, other = one.casefold(), other.casefold()
    return one == other or (one in _SET_OF and _SET_OF[one] == _SET_OF.get(other))


@dataclass
class NameAccuracy:
    """Counts right names.

    Attributes:
        exact: how many were the very word.
        synonym: how many meant the same; these among them.
        regions: how many were asked for.
    """

    exact: int = 0
    synonym: int = 0
    regions: int = 0

    def update(self, true: str, given: str) -> None:
        """Add a region: what it is, and what it was called."""
        self.regions += 1
        self.exact += true.casefold() == given.casefold()
        self.synonym += same_meaning(true, given)

    def shares(self) -> dict[str, float | int | None]:
        """Exact and by synonym set, None without a region; and the number of regions."""
        exact, synonym = (count / self.regions if self.regions else None for count in (self.exact, self.synonym))
        return {"exact": exact, "synonym": synonym, "regions": self.regions}
