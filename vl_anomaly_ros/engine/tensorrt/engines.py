# SPDX-License-Identifier: Apache-2.0
"""The engines of a bundle: found in the cache, or built into it."""

from __future__ import annotations

import hashlib
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.graph_file import data_file
from vl_anomaly_ros.engine.tensorrt.build import GRAPHS, BuildSettings, build_engine, profiles
from vl_anomaly_ros.engine.tensorrt.cache import Entry, default_folder, find_or_build
from vl_anomaly_ros.engine.tensorrt.library import Library
from vl_anomaly_ros.engine.tensorrt.precision import KEPT
from vl_anomaly_ros.engine.tensorrt.ranges import measured
from vl_anomaly_ros.engine.tensorrt.timing import Timings

Report = Callable[[str, str, int, int], None]
"""Called with graph, phase, steps done and their number."""


@dataclass
class Figures:
    """What building cost; empty where nothing was built.

    Attributes:
        seconds: by graph.
        peak_memory_mb: of the process since it began.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0


def recipe_of(library: Library, bundle: Bundle, settings: BuildSettings, eight_bits: bytes = b"") -> dict[str, Any]:
    """Everything that the engines depend on.

    Args:
        library: with which they are built.
        bundle: whose graphs; their hashes count, not the bundle's place or name.
        settings: of the build, the device among them.
        eight_bits: the quantised graph, with int8.
    """
    files = [f"{graph}.onnx" for graph in GRAPHS]
    files += [data_file(file) for file in files if data_file(file) in bundle.hashes]
    ranges = profiles(bundle, settings.max_vocabulary)
    return {
        "graphs": {file: bundle.hashes[file] for file in files},
        "library": library.name,
        "version": library.version,
        "settings": asdict(settings),
        "graph in 8 bits": hashlib.sha256(eight_bits).hexdigest() if eight_bits else "",
        "kept in float32": list(KEPT) if settings.precision == "fp16" else [],
        "profiles": {g: {name: list(map(list, shapes)) for name, shapes in ranges[g].items()} for g in GRAPHS},
    }


def engines_of(
    library: Library,
    bundle: Bundle,
    settings: BuildSettings,
    folder: Path | None = None,
    report: Report | None = None,
) -> tuple[Entry, Figures]:
    """The engines `visual.engine`, `head.engine` and `text.engine`.

    With int8 the image graph is the one that `ranges.measure` has kept in the same cache.

    Args:
        library: with which.
        bundle: whose.
        settings: for what.
        folder: of the cache; None: the user's.
        report: called as it is built.

    Raises:
        BundleError, EngineError: as `build_engine`, `find_or_build` and, with int8, `ranges.measured`.
    """
    figures = Figures()
    folder = folder or default_folder()
    eight_bits = measured(bundle, folder).graph if settings.precision == "int8" else b""

    def build() -> Mapping[str, bytes]:
        made = {}
        timings = None if library.capabilities else Timings(library, settings.device, folder)
        for graph in GRAPHS:
            began = time.perf_counter()

            def note(phase: str, done: int, total: int, graph: str = graph) -> None:
                if report is not None:
                    report(graph, phase, done, total)

            made[f"{graph}.engine"] = build_engine(library, bundle, graph, settings, note, eight_bits, timings)
            figures.seconds[graph] = time.perf_counter() - began
        figures.peak_memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return made

    entry = find_or_build(folder, recipe_of(library, bundle, settings, eight_bits), build)
    return entry, figures
