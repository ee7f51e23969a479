# SPDX-License-Identifier: Apache-2.0
"""One frame, one way: image -> scores -> regions -> names -> zones. The node and replay call this and nothing else."""

from __future__ import annotations

import logging
from time import perf_counter

from vl_anomaly_ros.config import Config, described
from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.errors import ConfigError, VlAnomalyError
from vl_anomaly_ros.geometry.zones import fuse
from vl_anomaly_ros.perception.naming import extended_segmentation, name_regions
from vl_anomaly_ros.perception.regions import find_regions
from vl_anomaly_ros.perception.scoring import score_map_of
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.types import Frame, FrameResult, Timing

logger = logging.getLogger(__name__)


class Pipeline:
    """Judges frames one by one. `process` may run in one thread while settings and vocabulary change from others.

    Args:
        config: every setting; `config.engine.bundle` empty means the shipped bundle.
        engine: a ready engine instead of the one that `config.engine` describes; the pipeline closes it.

    Raises:
        BundleError: the bundle is absent, incomplete or altered.
        EngineError: the backend cannot run it.

    Example:
        pipeline = Pipeline(with_values(Config(), {"engine.bundle": str(folder)}))
        result = pipeline.process(frame)
        if not result.ok: ...  # unknown, because of result.reason: never read it as "nothing there"
    """

    def __init__(self, config: Config, engine: Engine | None = None) -> None:
        self._config = config
        self._engine = engine or Engine.from_config(config.engine)

    def process(self, frame: Frame) -> FrameResult:
        """All that can be said of one frame.

        A failure of the engine or an unusable input gives a result with `ok` False and the reason; it is never an
        empty OK result. The same frame, settings and vocabulary give the same result, bit for bit, on one machine.
        """
        started = perf_counter()
        try:
            return self._judge(frame, self._config, started)
        except VlAnomalyError as error:
            logger.warning("camera %s, stamp %d ns: not judged: %s", frame.camera, frame.stamp_ns, error)
            return FrameResult(
                frame=frame,
                ok=False,
                reason=str(error),
                zone_frame=frame.output_frame,
                engine=self.engine_name,
                vocabulary_revision=self.vocabulary_revision,
                timing=Timing(engine_ms=0.0, total_ms=_ms_since(started)),
            )

    def _judge(self, frame: Frame, config: Config, started: float) -> FrameResult:
        calibration = self.bundle.calibration
        height, width = frame.image.shape[:2]
        scores = self._engine.run(frame.image, config.engine.source_weights)
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
        found = find_regions(
            score_map,
            threshold=_setting_or(config.regions.threshold, calibration.threshold),
            min_area_px=config.regions.min_area_px,
            max_regions=config.regions.max_regions,
        )
        vocabulary = scores.lexicon.vocabulary
        regions = name_regions(
            found,
            score_map.clip_features,
            vocabulary,
            scores.lexicon.bank.candidates,
            logit_scale=self.bundle.logit_scale,
            min_confidence=_setting_or(config.naming.min_confidence, calibration.min_name_confidence),
            runners_up=config.naming.runners_up,
        )
        segmentation, class_names = extended_segmentation(score_map.class_map, found, regions, vocabulary.known_names)
        fused = fuse(frame, regions, found.instances, config.fusion)
        return FrameResult(
            frame=frame,
            ok=True,
            probability=score_map.probability,
            mask=found.mask,
            instances=found.instances,
            segmentation=segmentation,
            class_names=class_names,
            regions=regions,
            zones=fused.zones,
            zone_frame=fused.zone_frame,
            R_zone_level=fused.R_zone_level,
            engine=self.engine_name,
            vocabulary_revision=scores.lexicon.revision,
            timing=Timing(engine_ms=engine_ms, total_ms=_ms_since(started)),
        )

    def reconfigure(self, config: Config) -> None:
        """Take new run-time settings from the next frame on.

        Raises:
            ConfigError: a setting that is read-only differs; nothing changes.
        """
        for now, new in zip(described(self._config), described(config)):
            if now.meaning.read_only and now.value != new.value:
                raise ConfigError(f"{now.name}: expected {now.value!r} as at start, got {new.value!r}; it is read-only")
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


def _setting_or(setting: float, from_bundle: float) -> float:
    """A negative setting means: as calibrated in the bundle."""
    return from_bundle if setting < 0 else setting


def _ms_since(started: float) -> float:
    return (perf_counter() - started) * 1e3
