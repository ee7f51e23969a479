# SPDX-License-Identifier: Apache-2.0
"""One frame, one way: image -> scores -> regions -> names -> zones. The node and replay call this and nothing else."""

from __future__ import annotations

import logging
from time import perf_counter

import numpy as np

from vl_anomaly_ros.config import Config, described
from vl_anomaly_ros.engine.bundle import Bundle, default_bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.errors import ConfigError, VlAnomalyError
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
        raise NotImplementedError

    def reconfigure(self, config: Config) -> None:
        """Take new run-time settings from the next frame on.

        Raises:
            ConfigError: a setting that is read-only differs.
        """
        raise NotImplementedError

    def set_vocabulary(self, vocabulary: Vocabulary) -> int:
        """Replace the vocabulary from the next frame on and return its revision. Encodes only words that are new.

        Raises:
            EngineError: the text encoder failed; the old vocabulary stays.
        """
        raise NotImplementedError

    @property
    def config(self) -> Config:
        """The present settings."""
        return self._config

    @property
    def vocabulary(self) -> Vocabulary:
        """The present vocabulary."""
        raise NotImplementedError

    @property
    def vocabulary_revision(self) -> int:
        """How often the vocabulary has been replaced."""
        raise NotImplementedError

    @property
    def engine_name(self) -> str:
        """Backend and bundle, such as "onnxruntime-cpu/sim-nano"."""
        raise NotImplementedError

    @property
    def bundle(self) -> Bundle:
        """The bundle in use: name, version, hash (`bundle.sha256`), calibration."""
        raise NotImplementedError

    def close(self) -> None:
        """Free the network. `process` then gives results with `ok` False."""
        raise NotImplementedError
