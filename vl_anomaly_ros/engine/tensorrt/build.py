# SPDX-License-Identifier: Apache-2.0
"""One ONNX graph to one serialized engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.graph_file import data_file
from vl_anomaly_ros.engine.tensorrt.device import Device
from vl_anomaly_ros.engine.tensorrt.library import Library
from vl_anomaly_ros.engine.tensorrt.precision import half_precision
from vl_anomaly_ros.engine.tensorrt.timing import Timings
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.text.vocabulary import MAX_SYNONYMS
from vl_anomaly_ros.untrusted import plain

GRAPHS = ("visual", "head", "text")
HALF = ("visual",)
"""Graphs that are half precision with fp16; the others hold what the score is made of."""
EIGHT_BITS = ("visual",)
"""Graphs that are 8 bits with int8."""
PRECISIONS = ("fp32", "fp16", "int8")
DEFAULT_VOCABULARY = 1024
TEXTS = 256
"""Most texts of one run of the text graph."""
_MOST_ERRORS = 3

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""Least, usual and largest shape of each input that is not fixed."""
Progress = Callable[[str, int, int], None]
"""Called with the phase, the steps done and their number."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildSettings:
    """What is built.

    Attributes:
        precision: one of `PRECISIONS`.
        compute_capability: such as "8.9", ahead of time; empty: for the GPU of this machine.
        max_vocabulary: most classes that the head takes at run time, known and outlier words together.
        device: that the engines are built on, by name; empty where they are built ahead of time.
    """

    precision: str = "fp32"
    compute_capability: str = ""
    max_vocabulary: int = DEFAULT_VOCABULARY
    device: str = ""

    def on(self, library: Library, device: Device) -> BuildSettings:
        """The same for the GPU that is here."""
        if library.capabilities:
            return replace(self, compute_capability=device.compute_capability, device="")
        return replace(self, compute_capability="", device=f"{device.name}, {device.compute_capability}")


def profiles(bundle: Bundle, max_vocabulary: int) -> dict[str, Profile]:
    """The shapes of each graph's inputs that are not fixed."""
    classes, size, detector = max_vocabulary, bundle.embedding_size, len(bundle.detector_classes)
    rows = (MAX_SYNONYMS + 1) * (1 + len(bundle.prompt_templates))
    usual, some = min(64, classes), min(9, rows)

    def shapes(*dimensions: tuple[int, int, int]) -> tuple[Shape, Shape, Shape]:
        least, common, most = (tuple(d[i] for d in dimensions) for i in range(3))
        return least, common, most

    c, r, g = (1, usual, classes), (1, some, rows), (1, min(16, classes), classes)
    fixed = (size, size, size)
    return {
        "visual": {},
        "head": {
            "text_bank": shapes(c, r, fixed),
            "aligned_mask": shapes(c, r),
            "clip_mask": shapes(c, r),
            "group_matrix": shapes(g, c),
            "detector_matrix": shapes(c, (detector, detector, detector)),
        },
        "text": {"tokens": shapes((1, 32, TEXTS), (bundle.context_length,) * 3)},
    }


def build_engine(
    library: Library,
    bundle: Bundle,
    graph: str,
    settings: BuildSettings,
    progress: Progress | None = None,
    eight_bits: bytes = b"",
    timings: Timings | None = None,
) -> bytes:
    """Build the engine of one of `GRAPHS`; strongly typed, so every number has the type that the graph gives it.

    Args:
        library: with which.
        bundle: whose graph.
        graph: name without its ending.
        settings: for what.
        progress: of the builder.
        eight_bits: the quantised graph, with int8.
        timings: of earlier builds; this one's are added.

    Raises:
        BundleError: the graph is not what was verified.
        EngineError: the library refuses the graph or the device.
    """
    trt = library.module
    capability = _capability(library, settings.compute_capability)
    log = _log(trt)
    try:
        builder = trt.Builder(log)
        network = builder.create_network(_strongly_typed(trt))
        config = builder.create_builder_config()
    except Exception as error:  # pybind11 turns a missing driver into a TypeError
        raise EngineError(f"{library.name}: expected a usable builder, got: {_line(f'{error} {log.said}')}") from error
    parser = trt.OnnxParser(network, log)
    if not _parse(parser, bundle, graph, settings.precision, eight_bits):
        errors = [_line(parser.get_error(i).desc()) for i in range(min(parser.num_errors, _MOST_ERRORS))]
        raise EngineError(
            f"{graph}.onnx: expected a graph that {library.name} {library.version} takes, got: {'; '.join(errors)}; "
            "export the bundle anew"
        )
    if capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(capability, 0)
    ranges = profiles(bundle, settings.max_vocabulary)[graph]
    if ranges:
        profile = builder.create_optimization_profile()
        for name, shapes in ranges.items():
            profile.set_shape(name, *shapes)
        config.add_optimization_profile(profile)
    if progress is not None:
        config.progress_monitor = _monitor(trt, progress)
    if timings is not None:
        timings.give(config)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        said = _line(log.said) or "no reason given"
        raise EngineError(f"{graph}.onnx: expected an engine from {library.name} {library.version}, got none: {said}")
    if timings is not None:
        timings.take(config)
    return bytes(plan)


def _strongly_typed(trt: Any) -> int:
    """Flags of the network: TensorRT 10 has to be asked for strong types, 11 knows nothing else.

    Source: NVIDIA's guide "Migrating from TensorRT 10.x to 11.x".
    """
    flag = getattr(getattr(trt, "NetworkDefinitionCreationFlag", None), "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _capability(library: Library, wanted: str) -> Any:
    """The library's word for a compute capability; None for the device that is there."""
    known = library.capabilities
    if not wanted:
        return None
    if wanted not in known:
        can = f"one of {', '.join(known)}" if known else "none: it builds on the device itself"
        raise EngineError(f"--compute-capability: expected {can} with {library.name} {library.version}, got {wanted}")
    return known[wanted]


def _parse(parser: Any, bundle: Bundle, graph: str, precision: str, eight_bits: bytes) -> bool:
    """Parse the verified bytes."""
    if precision == "int8" and graph in EIGHT_BITS:
        return bool(parser.parse(eight_bits))
    if precision == "fp16" and graph in HALF:
        return bool(parser.parse(half_precision(bundle, graph)))
    file = f"{graph}.onnx"
    if data_file(file) not in bundle.hashes:
        return bool(parser.parse(bundle.read(file)))
    with bundle.laid_down(file) as path:
        return bool(parser.parse_from_file(str(path)))


def _line(text: str) -> str:
    """On one line, without what could steer a terminal."""
    return plain(" ".join(text.split()))


def _log(trt: Any) -> Any:
    """A logger of the library that goes into ours and keeps the last error."""

    class Log(trt.ILogger):  # type: ignore[misc]  # of a module that is only known at run time
        def __init__(self) -> None:
            super().__init__()
            self.said = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.said = message  # the caller raises it
            logger.debug("%s", message)

    return Log()


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # as above
        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            del parent
            self.steps[phase] = steps

        def step_complete(self, phase: str, step: int) -> bool:
            progress(phase, step + 1, self.steps.get(phase, step + 1))
            return True

        def phase_finish(self, phase: str) -> None:
            self.steps.pop(phase, None)

    return Monitor()
