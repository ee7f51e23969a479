# SPDX-License-Identifier: Apache-2.0
"""A vocabulary that grows at run time: names that images suggest, kept while they are seen, never approved thereby.

Clipomaly (arXiv 2512.01427) segments an image once more with the known classes and the names found in it, and leaves
out what is too close to a known class or takes pixels away that one explained well. That a name must be seen in several
images, and is forgotten some time after the last one, is our choice: a single image's mistake then stays a mistake of
that image, and names do not change from image to image.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vl_anomaly_ros.config import NamingConfig
from vl_anomaly_ros.text.bank import Candidates, TextBank
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.types import FloatArray, IntArray, Region

logger = logging.getLogger(__name__)

Segment = Callable[[FloatArray], IntArray]
"""(h, w) int32 class map of the image with further words, given as (n, D) rows: the known classes, then those."""


@dataclass(frozen=True)
class Fine:
    """Which grown word each pixel of an image is.

    Attributes:
        words: added words that some pixel is.
        places: (h, w) int32 index into `words` at mask resolution; -1: none of them.
    """

    words: tuple[str, ...] = ()
    places: IntArray = field(default_factory=lambda: np.full((1, 1), -1, np.int32))


NOTHING = Fine()


@dataclass
class _Seen:
    """A word's embedding, how often it has named a region, when last, and why it is not added (empty: it may be)."""

    row: FloatArray
    images: int
    last_ns: int
    refused: str = ""
    grown: bool = False


class Growth:
    """The words that have been added, over images of all cameras. Safe to read from other threads."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._bank: TextBank | None = None
        self._lock = threading.Lock()

    @property
    def words(self) -> tuple[str, ...]:
        """Added words, in the order in which they were first seen."""
        with self._lock:
            return tuple(word for word, seen in self._seen.items() if seen.grown)

    @property
    def refused(self) -> Mapping[str, str]:
        """Words that were seen often enough and yet not added, and why."""
        with self._lock:
            return {word: seen.refused for word, seen in self._seen.items() if seen.refused}

    def look(
        self,
        stamp_ns: int,
        named: Sequence[Region],
        probability: FloatArray,
        threshold: float,
        vocabulary: Vocabulary,
        bank: TextBank,
        candidates: Candidates,
        config: NamingConfig,
        segment: Segment,
    ) -> Fine:
        """Take in the names of one image; returns which pixels are which of the added words.

        Args:
            stamp_ns: of the image. One that lies back (a recording played again) forgets everything.
            named: the image's regions with their labels.
            probability: (h, w) float32 anomaly probability, at mask resolution.
            threshold: from which a pixel is anomalous. Below half of it a known class explains the pixel well.
            vocabulary: in use; when it is replaced, everything is forgotten.
            bank: of that vocabulary, complete.
            candidates: that the regions were named from.
            config: the guards.
            segment: called at most once, where there are words to be added or found again.
        """
        here = {r.label.name for r in named if r.label.name and not r.label.approved}
        self._forget(stamp_ns, bank, config.growth_max_age_s)
        self._count(here, stamp_ns, vocabulary, bank, candidates, config)
        with self._lock:
            grown = [word for word, seen in self._seen.items() if seen.grown]
            room = config.growth_max_words - len(grown)
            new = [w for w, s in self._seen.items() if w in here and not s.grown and not s.refused]
            new = [word for word in new if self._seen[word].images >= config.growth_min_images][: max(room, 0)]
        words = tuple(grown + new)
        if not words:
            return NOTHING
        places = segment(np.stack([self._seen[word].row for word in words])) - len(vocabulary.known)
        explained = probability < threshold / 2
        taken = np.bincount(places[explained & (places >= 0)], minlength=len(words)) / max(int(explained.sum()), 1)
        with self._lock:
            for word, share in list(zip(words, taken))[len(grown) :]:
                if share > config.growth_max_takeover:
                    self._seen[word].refused = f"takes {share:.1%} of what known classes explain well"
                    logger.info("%r is not added: %s", word, self._seen[word].refused)
                else:
                    self._seen[word].grown = True
                    logger.info("%r is added to what images are segmented into", word)
            allowed = np.array([self._seen[word].grown for word in words])
        found = (places >= 0) & (probability >= threshold)
        found[found] = allowed[places[found]]
        present, index = np.unique(places[found], return_inverse=True)
        fine = np.full(places.shape, -1, np.int32)
        fine[found] = index
        return Fine(tuple(words[place] for place in present), fine)

    def _forget(self, stamp_ns: int, bank: TextBank, max_age_s: float) -> None:
        """Words that are too old; all of them where time or the vocabulary has started anew."""
        with self._lock:
            newest = max((seen.last_ns for seen in self._seen.values()), default=stamp_ns)
            if bank is not self._bank or stamp_ns < newest - max_age_s * 1e9:
                self._seen.clear()
            self._bank = bank
            self._seen = {w: s for w, s in self._seen.items() if stamp_ns - s.last_ns <= max_age_s * 1e9}

    def _count(
        self,
        words: set[str],
        stamp_ns: int,
        vocabulary: Vocabulary,
        bank: TextBank,
        candidates: Candidates,
        config: NamingConfig,
    ) -> None:
        for word in sorted(words):
            with self._lock:
                seen = self._seen.get(word)
                if seen is not None:
                    seen.images, seen.last_ns = seen.images + 1, max(stamp_ns, seen.last_ns)
                    continue
            row = candidates.row(word)
            known, cosine = _nearest(row, bank)
            too_close = cosine > config.growth_max_similarity
            reason = f"too close to {vocabulary.known[known].name} ({cosine:.2f})" if too_close else ""
            with self._lock:
                self._seen[word] = _Seen(row, 1, stamp_ns, reason)
            if reason:
                logger.info("%r is not added: %s", word, reason)


def _nearest(embedding: FloatArray, bank: TextBank) -> tuple[int, float]:
    """The known class whose hand-written prompts are nearest to a unit embedding (D,), by cosine."""
    known = int(np.count_nonzero(bank.group_matrix.max(axis=0)))
    cosines = np.where(bank.clip_mask[:known] > 0, bank.text_bank[:known] @ embedding, -1).max(axis=1)
    return int(cosines.argmax()), float(cosines.max())
