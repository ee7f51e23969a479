# SPDX-License-Identifier: Apache-2.0
"""A bundle's image graph in 8 bits, kept beside the engines: made by the command, which has pictures; used by all."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.graph_file import data_file
from vl_anomaly_ros.engine.tensorrt.cache import find, replace
from vl_anomaly_ros.engine.tensorrt.quantisation import FILE, LEAST_ROWS, OPTIONS, Quantised, quantised
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.types import ByteArray
from vl_anomaly_ros.untrusted import plain

_SOURCE = "pictures.json"

logger = logging.getLogger(__name__)


def measure(bundle: Bundle, pictures: Iterable[ByteArray], folder: Path) -> Quantised:
    """Quantise the image graph by pictures and keep it, in place of what other pictures gave.

    Args:
        bundle: whose graph.
        pictures: as `quantised` takes them.
        folder: of the cache.

    Raises:
        BundleError, EngineError: as `quantised` and `replace`.
    """
    made = quantised(bundle, pictures)
    source = {"pictures": made.pictures, "sha256": made.pictures_sha256}
    replace(folder, _recipe(bundle), {FILE: made.graph, _SOURCE: json.dumps(source).encode()})
    return made


def measured(bundle: Bundle, folder: Path) -> Quantised:
    """What `measure` has kept for a bundle.

    Raises:
        EngineError: nothing, or what can no longer be trusted; with the command that measures.
    """
    entry = find(folder, _recipe(bundle))
    if entry is None:
        raise EngineError(
            f"precision int8: expected ranges that were measured on pictures, found none for the bundle {bundle.name} "
            f"in {plain(str(folder))}; run vl-anomaly build-engine --bundle {plain(str(bundle.path))} --precision int8 "
            "--calibration-images DIR with the same backend, or use fp16"
        )
    source = json.loads(entry.files[_SOURCE])
    logger.info("8 bits: ranges of %d pictures, %s", source["pictures"], source["sha256"][:12])
    return Quantised(entry.files[FILE], source["pictures"], source["sha256"])


def _recipe(bundle: Bundle) -> dict[str, Any]:
    """What a quantised graph depends on besides the pictures; one bundle has one, so that the node finds it."""
    files = [file for file in (FILE, data_file(FILE)) if file in bundle.hashes]
    scheme = {"options": OPTIONS, "least rows": LEAST_ROWS, "ranges": "MinMax"}
    return {"holds": "graph in 8 bits", "graphs": {file: bundle.hashes[file] for file in files}, "scheme": scheme}
