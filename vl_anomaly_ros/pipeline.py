# SPDX-License-Identifier: Apache-2.0
"""One frame, one way: image -> scores -> regions -> names -> zones. The node and replay call this and nothing else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import TypeVar

from vl_anomaly_ros.config import Config, EngineConfig, described
from vl_anomaly_ros.cores import keep_to_half
from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.tagger import Suggestions
from vl_anomaly_ros.engine.terms import growth_wanted, terms_of
from vl_anomaly_ros.errors import BundleError, ConfigError, DataError, EngineError, VlAnomalyError
from vl_anomaly_ros.geometry.scene import Scene, prepare
from vl_anomaly_ros.geometry.zones import fuse
from vl_anomaly_ros.perception.growth import NOTHING, Growth
from vl_anomaly_ros.perception.naming import name_regions
from vl_anomaly_ros.perception.pictures import PicturesOnDemand
from vl_anomaly_ros.perception.regions import find_regions
from vl_anomaly_ros.perception.scoring import score_map_of
from vl_anomaly_ros.perception.segmentation import extended_names
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.types import Frame, FrameResult, Timing

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Pipeline:
    """Judges frames. `process` may run in several threads, while settings and vocabulary change from others.

    Args:
        config: every setting; `config.engine.bundle` empty means the shipped bundle, and `config.engine.parallel` says
            for how many threads there is room.
        make_engine: makes the engine that `config.engine` describes; the pipeline closes it.

    Raises:
        BundleError: the bundle or the tagger is absent, incomplete or altered.
        ConfigError: the bundle is not calibrated for the method.
        EngineError: the backend cannot run it.

    Example:
        pipeline = Pipeline(with_values(Config(), {"engine.bundle": str(folder)}))
        result = pipeline.process(frame)
        if not result.ok: ...  # unknown, because of result.reason: never read it as "nothing there"
    """

    def __init__(self, config: Config, make_engine: Callable[[EngineConfig], Engine] = Engine.from_config) -> None:
        self._config = config
        self._make_engine = make_engine
        self._engine = make_engine(config.engine)
        self._failures = 0
        self._growth = Growth()
        self._growing = threading.Lock()
        try:
            self.bundle.calibration_for(config.method.name)
            self._suggestions = Suggestions(config.naming, self._engine.words, config.engine.threads)
        except VlAnomalyError:
            self._engine.close()
            raise
        parallel = config.engine.parallel
        pinned = partial(keep_to_half, 1) if parallel == 1 else None
        self._beside = ThreadPoolExecutor(parallel, "vl_anomaly_inputs", initializer=pinned)

    def process(self, frame: Frame, complete: Callable[[Frame], Frame] = lambda frame: frame) -> FrameResult:
        """All that can be said of one frame.

        A failure of the engine or an unusable input gives a result with `ok` False and the reason; it is never an
        empty OK result. The same frame, settings and vocabulary give the same result, bit for bit, on one machine;
        where names grow (`naming.growth`), the same sequence of frames does, one after the other.

        Args:
            frame: at least an image.
            complete: returns the frame with cloud, calibration and transforms. It is called in another thread while
                the network runs, which does not need them: it may wait for what is still to come.
        """
        started = perf_counter()
        try:
            return self._judge(frame, complete, self._config, started)
        except VlAnomalyError as error:
            logger.warning("camera %s, stamp %d ns: not judged: %s", frame.camera, frame.stamp_ns, error)
            return FrameResult(
                frame=frame,
                ok=False,
                reason=str(error),
                zone_frame=frame.output_frame,
                engine=self.engine_name,
                method=self._config.method.name,
                vocabulary_revision=self.vocabulary_revision,
                timing=Timing(engine_ms=0.0, total_ms=_ms_since(started)),
            )

    def _judge(self, frame: Frame, complete: Callable[[Frame], Frame], config: Config, started: float) -> FrameResult:
        calibration = self.bundle.calibration_for(config.method.name)
        height, width = frame.image.shape[:2]
        inputs = self._beside.submit(_prepared, complete, frame, config)
        scores = self._with_engine(lambda engine: engine.run(frame.image, terms_of(config.method, calibration)))
        engine_ms = _ms_since(started)
        score_map = score_map_of(
            scores.score,
            scores.sources,
            scores.class_map,
            scores.clip_features,
            curve=(calibration.score, calibration.probability),
            width=width,
            height=height,
        )
        threshold = _setting_or(config.regions.threshold, calibration.threshold)
        found = find_regions(
            score_map,
            threshold=threshold,
            min_area_px=config.regions.min_area_px,
            max_regions=config.regions.max_regions,
        )
        vocabulary, growing = scores.lexicon.vocabulary, growth_wanted(config.naming, config.method)
        candidates = self._suggestions.of(
            frame.image, vocabulary, scores.lexicon.bank, config.naming, needed=bool(found.regions)
        )
        regions = name_regions(
            found,
            score_map.clip_features,
            vocabulary,
            candidates,
            logit_scale=self.bundle.logit_scale,
            min_confidence=_setting_or(config.naming.min_confidence, calibration.min_name_confidence),
            runners_up=config.naming.runners_up,
            kept=self._growth.words if growing else (),
            keep=config.naming.growth_keep,
        )
        fine = NOTHING
        if growing:
            with self._growing:
                fine = self._growth.look(
                    frame.stamp_ns,
                    regions,
                    score_map.probability,
                    threshold,
                    vocabulary,
                    scores.lexicon.bank,
                    candidates,
                    config.naming,
                    lambda words: self._with_engine(lambda engine: engine.segment(scores, words)),
                )
        class_names, _ = extended_names(regions, vocabulary.known_names, fine.words)
        waits = perf_counter()
        frame, scene = inputs.result()
        inputs_ms = _ms_since(waits)
        fused = fuse(frame, regions, found.instances, config.fusion, scene)
        return FrameResult(
            frame=frame,
            ok=True,
            pictures=PicturesOnDemand(
                score_map.probability, score_map.class_map, found, regions, vocabulary.known_names, fine
            ),
            class_names=class_names,
            regions=regions,
            zones=fused.zones,
            zone_frame=fused.zone_frame,
            R_zone_level=fused.R_zone_level,
            engine=self.engine_name,
            method=config.method.name,
            vocabulary_revision=scores.lexicon.revision,
            timing=Timing(engine_ms=engine_ms, total_ms=_ms_since(started), inputs_ms=inputs_ms),
        )

    def _with_engine(self, call: Callable[[Engine], T]) -> T:
        """What the engine says; its every failure is counted and becomes an `EngineError`."""
        try:
            said = call(self._engine)
        except DataError:
            raise
        except Exception as error:
            self._failures += 1
            if isinstance(error, VlAnomalyError):
                raise
            raise EngineError(f"the engine failed: {type(error).__name__}: {error}") from error
        self._failures = 0
        return said

    def successor(self) -> Pipeline:
        """A pipeline with an engine loaded anew, and with the settings and the vocabulary of this one.

        Raises:
            BundleError: as the class, and when the bundle on the disk is another by now: nobody has asked for it.
            EngineError: as the class.
        """
        new = Pipeline(self._config, self._make_engine)
        have, want = new.bundle.sha256, self.bundle.sha256
        if have != want:
            new.close()
            raise BundleError(
                f"{new.bundle.path}: expected the bundle {want[:12]}... that was configured, got {have[:12]}...; put "
                "it back, or clean up and configure to use the new one"
            )
        lexicon = self._engine.lexicon
        if lexicon.revision:
            new._engine.set_vocabulary(lexicon.vocabulary, lexicon.revision)
        return new

    def reconfigure(self, config: Config) -> None:
        """Take new run-time settings from the next frame on.

        Raises:
            ConfigError: a setting that is read-only differs, or the bundle is not calibrated for the method; nothing
                changes.
        """
        for now, new in zip(described(self._config), described(config)):
            if now.meaning.read_only and now.value != new.value:
                raise ConfigError(f"{now.name}: expected {now.value!r} as at start, got {new.value!r}; it is read-only")
        self.bundle.calibration_for(config.method.name)
        self._config = config

    def set_vocabulary(self, vocabulary: Vocabulary) -> int:
        """Replace the vocabulary from the next frame on and return its revision. Encodes only words that are new.

        Raises:
            EngineError: the text encoder failed; the old vocabulary stays.
        """
        return self._engine.set_vocabulary(vocabulary)

    @property
    def config(self) -> Config:
        """The present settings."""
        return self._config

    @property
    def vocabulary(self) -> Vocabulary:
        """The present vocabulary."""
        return self._engine.lexicon.vocabulary

    @property
    def vocabulary_revision(self) -> int:
        """How often the vocabulary has been replaced."""
        return self._engine.lexicon.revision

    @property
    def engine(self) -> Engine:
        """What is in use, for those who report it."""
        return self._engine

    @property
    def engine_failures(self) -> int:
        """How many frames in a row the engine has failed at; 0 after a success."""
        return self._failures

    @property
    def engine_name(self) -> str:
        """Backend and bundle, such as "onnxruntime-cpu/sim-nano"."""
        return self._engine.name

    @property
    def bundle(self) -> Bundle:
        """The bundle in use: name, version, hash (`bundle.sha256`), calibration."""
        return self._engine.bundle

    def close(self) -> None:
        """Free the network. `process` then gives results with `ok` False."""
        self._engine.close()


def _prepared(complete: Callable[[Frame], Frame], frame: Frame, config: Config) -> tuple[Frame, Scene]:
    """The frame with all its inputs, and what they say without its regions."""
    whole = complete(frame)
    return whole, prepare(whole, config.fusion)


def _setting_or(setting: float, from_bundle: float) -> float:
    """A negative setting means: as calibrated in the bundle."""
    return from_bundle if setting < 0 else setting


def _ms_since(started: float) -> float:
    return (perf_counter() - started) * 1e3
