# SPDX-License-Identifier: Apache-2.0
"""Everything that an engine reaches on a labelled data set."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vl_anomaly_ros.config import NamingConfig
from vl_anomaly_ros.engine.calibration import Calibration
from vl_anomaly_ros.engine.engine import Engine, Scores
from vl_anomaly_ros.engine.tagger import Suggestions
from vl_anomaly_ros.engine.terms import Terms
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.anomaly import SOURCES, region_embedding
from vl_anomaly_ros.evaluation.conventions import NORMAL, VOID
from vl_anomaly_ros.evaluation.engine_maps import EngineMaps, spread
from vl_anomaly_ros.evaluation.examples import Example, ExampleSet, Truth
from vl_anomaly_ros.evaluation.map_figures import MapFigures, defined, judge_maps
from vl_anomaly_ros.evaluation.metrics import RECALLS, PixelMetrics
from vl_anomaly_ros.evaluation.name_accuracy import NameAccuracy
from vl_anomaly_ros.evaluation.overlap import KnownOverlap, OpenWorldOverlap
from vl_anomaly_ros.evaluation.reliability import Reliability, ReliabilityFigures
from vl_anomaly_ros.perception.scoring import calibrated
from vl_anomaly_ros.perception.upsampling import upsampled
from vl_anomaly_ros.text.bank import Candidates
from vl_anomaly_ros.types import BoolArray, ByteArray

MIN_NAMED_PX = 64


@dataclass(frozen=True)
class SetSettings:
    """What is measured.

    Attributes:
        threshold: of components and of the open world, on the fused score, inclusive; None: that of the best pixel F1.
        sources: whether each source of the score is measured alone as well.
        save: folder for the score maps; None: none.
        min_named_px: smaller anomalies are not asked for their names.
        calibration: of the method; None: it has none, and no calibration error.
        progress: called with pictures done and their number.
    """

    threshold: float | None = None
    calibration: Calibration | None = None
    sources: bool = False
    save: Path | None = None
    min_named_px: int = MIN_NAMED_PX
    progress: Callable[[int, int], None] = lambda _done, _total: None


@dataclass(frozen=True)
class SetFigures:
    """Result; None where the data set does not allow it, and `reasons` says why.

    Attributes:
        maps: pixels and components.
        reliability: of the calibrated probability; None without a labelled pixel.
        known_miou: of the known classes.
        open_world_miou, open_world_miou_known: with the unknown as one more class; and of the known ones alone then.
        unmatched: known classes of the data set that the vocabulary has no word for; they are left out.
        names: exact, by synonym set, and of how many regions.
        sources: pixel figures of each source alone; empty unless asked for.
        hard: pixel figures with what is normal and hard as the only normal pixels, of the fused score and of each
            source; empty where the data set does not mark such pixels.
        engine_ms: median time of the engine for a picture.
        reasons: of each figure that is None.
    """

    maps: MapFigures
    reliability: ReliabilityFigures | None
    known_miou: float | None
    open_world_miou: float | None
    open_world_miou_known: float | None
    unmatched: list[str]
    names: NameAccuracy
    sources: dict[str, dict[str, Any]]
    hard: dict[str, dict[str, Any]]
    engine_ms: float
    reasons: dict[str, str]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        figures = self.maps.plain()
        return {
            **figures,
            "ece": None if self.reliability is None else self.reliability.ece,
            "reliability": None if self.reliability is None else [asdict(row) for row in self.reliability.bins],
            "known_miou": self.known_miou,
            "open_world_miou": self.open_world_miou,
            "open_world_miou_known": self.open_world_miou_known,
            "unmatched_classes": self.unmatched,
            "naming": self.names.shares(),
            "sources": self.sources,
            "hard_normal": self.hard,
            "engine_ms": self.engine_ms,
            "reasons": {**figures["reasons"], **self.reasons},
        }

    def lines(self) -> list[str]:
        """For people."""
        lines = self.maps.lines()
        for name, source in self.sources.items():
            if source["auprc"] is not None:
                lines.append(
                    f"{name:<9} alone: AuPRC {source['auprc']:.4f}  AuROC {source['auroc']:.4f}  "
                    f"FPR95 {source['fpr95']:.4f}"
                )
        for name, hard in self.hard.items():
            if hard["auprc"] is not None:
                lines.append(
                    f"hard normal pixels taken for anomalies, {name:<9} {hard['fpr95']:.4f} at 95 % recall, "
                    f"{1 - hard['retained'][RECALLS.index(0.8)]:.4f} at 80 %"
                )
        if self.reliability is not None:
            lines.append(f"ECE {self.reliability.ece:.4f} of the probability, {len(self.reliability.bins)} bins")
        lines += [
            f"{words} {value:.4f}"
            for words, value in (
                ("known-class mIoU", self.known_miou),
                ("open-world mIoU", self.open_world_miou),
                ("open-world mIoU of the known classes alone", self.open_world_miou_known),
            )
            if value is not None
        ]
        names = self.names.shares()
        if names["exact"] is not None:
            lines.append(
                f"right names {names['exact']:.4f}, with synonyms {names['synonym']:.4f}, of {names['regions']} regions"
            )
        if self.unmatched:
            lines.append(f"classes without a word in the vocabulary, left out: {', '.join(self.unmatched)}")
        lines += [f"undefined: {what}: {why}" for what, why in self.reasons.items()]
        return [*lines, f"engine, median: {self.engine_ms:.1f} ms a picture"]


def measure_set(
    engine: Engine,
    terms: Terms,
    examples: ExampleSet,
    settings: SetSettings | None = None,
    naming: NamingConfig | None = None,
) -> SetFigures:
    """Judge every picture of a data set and measure.

    Args:
        engine: with the vocabulary that is asked about.
        terms: of the score.
        examples: the data set.
        settings: what is measured.
        naming: where names come from; None: the dictionary.

    Raises:
        EvaluationError: a picture or label cannot be used.
        EngineError: the network failed.
    """
    settings = settings or SetSettings()
    observed = _Observed(engine, examples.classes, settings, naming or NamingConfig())

    def judged(image: ByteArray) -> Scores:
        observed.look(image)
        return engine.run(image, terms)

    with tempfile.TemporaryDirectory(prefix="vl_anomaly_") as folder:
        maps = EngineMaps(
            judged, _Counted(examples, settings.progress), Path(folder),
            observed.add, settings.save,
        )  # fmt: skip
        found = judge_maps(maps, settings.threshold)
        open_world = _open_world(maps, observed, found.threshold) if found.threshold is not None else (None, None)
    reasons = {}
    reliability, why = observed.reliability_or_reason()
    if reliability is None:
        reasons["ece"] = why
    known_miou = observed.known.compute()
    if known_miou is None:
        reasons["known_miou"] = "the data set labels no known class that the vocabulary has a word for"
    if open_world[0] is None:
        reasons["open_world_miou"] = (
            f"no threshold: {found.no_pixel}" if found.threshold is None else "no labelled pixel"
        )
    if not observed.names.regions:
        reasons["naming"] = "the data set names no anomaly that is large enough, or the vocabulary has no candidates"
    return SetFigures(
        maps=found,
        reliability=reliability,
        known_miou=known_miou,
        open_world_miou=open_world[0],
        open_world_miou_known=open_world[1],
        unmatched=observed.known.unmatched,
        names=observed.names,
        sources={name: _figures(metrics) for name, metrics in observed.sources.items()},
        hard={name: _figures(metrics) for name, metrics in observed.hard.items()},
        engine_ms=float(np.median(maps.engine_ms)),
        reasons=reasons,
    )


class _Observed:
    """What is counted while the network runs."""

    def __init__(self, engine: Engine, classes: tuple[str, ...], settings: SetSettings, naming: NamingConfig) -> None:
        self._naming, self._suggestions = naming, Suggestions(naming, engine.words)
        self._calibration = settings.calibration
        self._lexicon = engine.lexicon
        self._candidates = Candidates((), np.zeros((0, engine.bundle.embedding_size), np.float32))
        self._min_named_px = settings.min_named_px
        self._reliability = Reliability()
        self.known = KnownOverlap(classes, engine.lexicon.vocabulary)
        self.names = NameAccuracy()
        self.sources = {name: PixelMetrics() for name in SOURCES} if settings.sources else {}
        self.hard: dict[str, PixelMetrics] = {}
        self.known_classes = len(engine.lexicon.vocabulary.known) if classes else 1

    def look(self, image: ByteArray) -> None:
        """Take in the picture that is judged next."""
        self._candidates = self._suggestions.of(image, self._lexicon.vocabulary, self._lexicon.bank, self._naming)

    def add(self, truth: Truth, scores: Scores) -> None:
        """Count a picture."""
        height, width = truth.label.shape
        if self._calibration is not None:
            curve = self._calibration.score, self._calibration.probability
            self._reliability.update(upsampled(calibrated(scores.score, *curve), width, height), truth.label)
        self.known.update(truth, spread(scores.class_map, width, height))
        alone = {name: upsampled(source, width, height) for name, source in zip(self.sources, scores.sources)}
        for name, score in alone.items():
            self.sources[name].update(score, truth.label)
        if truth.hard is not None:
            label = hard_label(truth.label, truth.hard)
            for name, score in {"fused": upsampled(scores.score, width, height), **alone}.items():
                self.hard.setdefault(name, PixelMetrics()).update(score, label)
        for thing in truth.things if self._lexicon.vocabulary.candidates else ():
            embedding = region_embedding(scores.clip_features, thing.mask)
            if embedding is not None and int(thing.mask.sum()) >= self._min_named_px:
                # CLIP-Best: the candidate that is most like the mean of CLIP's features under the mask.
                cosines = self._candidates.rows @ embedding
                self.names.update(thing.name, self._candidates.words[int(cosines.argmax())] if len(cosines) else "")

    def reliability_or_reason(self) -> tuple[ReliabilityFigures | None, str]:
        if self._calibration is None:
            return None, "the bundle is not calibrated for this method"
        try:
            return self._reliability.compute(), ""
        except EvaluationError as error:
            return None, str(error).removeprefix("reliability: ")


class _Counted:
    """A data set that says how far it has been read, the first time."""

    def __init__(self, examples: ExampleSet, progress: Callable[[int, int], None]) -> None:
        self.classes = examples.classes
        self._examples, self._progress, self._done = examples, progress, 0

    def __len__(self) -> int:
        return len(self._examples)

    def __iter__(self) -> Iterator[Example]:
        for done, example in enumerate(self._examples, 1):
            yield example
            if done > self._done:
                self._done = done
                self._progress(done, len(self))


def _open_world(maps: EngineMaps, observed: _Observed, threshold: float) -> tuple[float | None, float | None]:
    overlap = OpenWorldOverlap(observed.known, observed.known_classes, threshold)
    for picture in maps.pictures():
        overlap.update(picture.truth, picture.class_map, picture.score)
    return overlap.compute()


def hard_label(label: ByteArray, hard: BoolArray) -> ByteArray:
    """`label` (H, W) with every normal pixel that is not hard as void."""
    return np.where((label == NORMAL) & ~hard, np.uint8(VOID), label)


def _figures(metrics: PixelMetrics) -> dict[str, Any]:
    found, why = defined(metrics)
    return {"auprc": None, "reason": why} if found is None else asdict(found)
