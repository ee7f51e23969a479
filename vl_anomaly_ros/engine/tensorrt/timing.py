# SPDX-License-Identifier: Apache-2.0
"""How fast TensorRT's kernels were on this device: kept beside the engines, so that the next build times them no more.

TensorRT parses what it is given; so only what this cache has kept itself, for this version and device, is ever given.
TensorRT-RTX builds ahead of time, without the GPU, and times nothing.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from vl_anomaly_ros.engine.tensorrt.cache import find, replace
from vl_anomaly_ros.engine.tensorrt.library import Library
from vl_anomaly_ros.errors import EngineError

_FILE = "timing.cache"

logger = logging.getLogger(__name__)


class Timings:
    """Of one library on one device; empty where none are kept.

    Args:
        library: TensorRT.
        device: name and compute capability of the GPU, as in the engines' recipe.
        folder: of the cache.
    """

    def __init__(self, library: Library, device: str, folder: Path) -> None:
        self._folder = folder
        self._recipe = {"holds": "timings", "library": library.name, "version": library.version, "device": device}
        entry = find(folder, self._recipe)
        self._content = b"" if entry is None else entry.files.get(_FILE, b"")

    def give(self, config: Any) -> None:
        """To an `IBuilderConfig`; what the library takes for another device's or version's is left out by it."""
        if not config.set_timing_cache(config.create_timing_cache(self._content), False):
            logger.info("the library did not take the timings of earlier builds")

    def take(self, config: Any) -> None:
        """Keep what it has after a build. That this fails is no error: the next build is slower, nothing else."""
        cache = config.get_timing_cache()
        content = b"" if cache is None else bytes(cache.serialize())
        if not content or content == self._content:
            return
        self._content = content
        try:
            replace(self._folder, self._recipe, {_FILE: content})
        except EngineError as error:
            logger.warning("timings are not kept: %s", error)
