# SPDX-License-Identifier: Apache-2.0
"""Which backend runs a bundle: the best that is really usable, proven against the CPU before it is trusted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from vl_anomaly_ros.config import EngineConfig
from vl_anomaly_ros.engine.backend import Backend
from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend, check_cuda
from vl_anomaly_ros.engine.progress import Report, Step
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.types import FloatArray

if TYPE_CHECKING:
    from vl_anomaly_ros.engine.reference import Reference

MOST_DIFFERENCE = {"fp32": 0.01, "fp16": 0.05, "int8": 0.1}
"""Of a score in 0..1, at any cell of the picture that a backend is proven on."""
_MOST_MEAN = 0.1  # of these
_RUNS_TOGETHER = 4  # the second one of each thread may be recorded, later ones launch what was

_Make = Callable[[Bundle, EngineConfig, Report], Backend]

logger = logging.getLogger(__name__)


def choose_engine(bundle: Bundle, config: EngineConfig, report: Report | None = None) -> Engine:
    """The engine on the backend that `engine.backend` names; with `auto` on the first of `ORDER` that can be used.

    What runs on a GPU is compared with ONNX Runtime on the CPU first: one that computes something else is not used.

    Args:
        bundle: verified.
        config: which backend, precision and threads.
        report: called at each step.

    Raises:
        BundleError: the bundle is not what was verified.
        EngineError: the one that is named cannot be used; with `auto`: not even the CPU can.
    """
    tell = _logged(report)
    if config.backend != "auto":
        return _made(config.backend, bundle, config, tell)
    for name, why in refusals(bundle, config, tell):
        if not isinstance(why, EngineError):
            return why
        logger.info("%s is not used: %s", name, why)
        last = why
    raise last


def refusals(bundle: Bundle, config: EngineConfig, report: Report) -> Iterator[tuple[str, Engine | EngineError]]:
    """Each of `ORDER` with why it cannot be used; the first that can, with its engine, is the last."""
    for name in ORDER:
        try:
            made: Engine | EngineError = _made(name, bundle, config, report)
        except EngineError as error:
            made = error
        yield name, made
        if not isinstance(made, EngineError):
            return


def obstacle(name: str) -> str:
    """What is missing for one of `ORDER`, without building anything; empty where nothing is."""
    from vl_anomaly_ros.engine.tensorrt.device import Device
    from vl_anomaly_ros.engine.tensorrt.library import load_library

    try:
        if name.startswith("tensorrt"):
            load_library(name)
            Device().close()
        elif name == "onnxruntime-cuda":
            check_cuda()
    except EngineError as error:
        return str(error)
    return ""


def prove(engine: Engine, threads: int, parallel: int = 1) -> None:
    """Compare an engine with ONNX Runtime on the CPU, whose scores may be kept ones; nothing is refused by these alone.

    Args:
        engine: on a GPU.
        threads: of the CPU.
        parallel: so many threads ask it at once, as they will ask it later.

    Raises:
        BundleError: the bundle is not what was verified.
        EngineError: a score differs by more than `MOST_DIFFERENCE` of its precision.
    """
    from vl_anomaly_ros.engine.reference import forget, reference_of

    backend = engine.backend
    reference = reference_of(engine.bundle, threads)
    gap = _gap(engine, reference, parallel)
    if not _alike(gap, backend.precision) and reference.path is not None:
        logger.warning("%s: differs from the scores of the CPU that were kept; these are computed anew", backend.name)
        forget(reference.path)
        gap = _gap(engine, reference_of(engine.bundle, threads), parallel)
    if not _alike(gap, backend.precision):
        raise EngineError(
            f"{backend.name}: expected the scores of the CPU up to {MOST_DIFFERENCE[backend.precision]} on "
            f"{backend.device}, they differ by up to {gap.max():.3g}; use another backend or precision, and report it"
        )
    logger.info("%s: scores differ from those of the CPU by at most %.2g", backend.name, gap.max())


def _gap(engine: Engine, reference: Reference, parallel: int) -> FloatArray:
    """Largest difference at each cell, over all threads."""
    together = threading.Barrier(parallel)

    def one(_: int) -> FloatArray:
        together.wait()
        runs = 1 if parallel == 1 else _RUNS_TOGETHER
        gaps = [np.abs(engine.run(reference.picture).score - reference.score) for _ in range(runs)]
        return np.asarray(np.max(gaps, axis=0), np.float32)

    with ThreadPoolExecutor(parallel, "vl_anomaly_proof") as threads:
        return np.asarray(np.max(list(threads.map(one, range(parallel))), axis=0), np.float32)


def _alike(gap: FloatArray, precision: str) -> bool:
    most = MOST_DIFFERENCE[precision]
    return bool(gap.max() <= most and gap.mean() <= _MOST_MEAN * most)


def _made(name: str, bundle: Bundle, config: EngineConfig, report: Report) -> Engine:
    report(Step(name, "loading"))
    backend = _MAKERS[name](bundle, config, report)
    try:
        report(Step(name, "warming up"))
        engine = Engine(bundle, backend)
        if name != "onnxruntime":
            report(Step(name, "comparing its scores with those of the CPU"))
            prove(engine, config.threads, config.parallel)
    except BaseException:
        backend.close()
        raise
    return engine


def _logged(report: Report | None) -> Report:
    """The same, with a line in the log whenever a graph or a phase of its build begins."""
    last = ("", "")

    def tell(step: Step) -> None:
        nonlocal last
        if step.graph and (step.graph, step.phase) != last:
            last = step.graph, step.phase
            logger.info("%s", step)
        if report is not None:
            report(step)

    return tell


def _tensorrt(name: str) -> _Make:
    def make(bundle: Bundle, config: EngineConfig, report: Report) -> Backend:
        from vl_anomaly_ros.engine.tensorrt.backend import TensorRtBackend
        from vl_anomaly_ros.engine.tensorrt.build import BuildSettings
        from vl_anomaly_ros.engine.tensorrt.library import load_library

        def building(graph: str, phase: str, done: int, total: int) -> None:
            report(Step(name, phase, graph, done, total))

        settings = BuildSettings(config.precision)
        return TensorRtBackend(bundle, load_library(name), settings, report=building, parallel=config.parallel)

    return make


def _cuda(bundle: Bundle, config: EngineConfig, report: Report) -> Backend:
    del report
    if config.precision != "fp32":
        raise EngineError(f"onnxruntime-cuda: expected engine.precision fp32, got {config.precision}")
    return OnnxRuntimeBackend(bundle, config.threads, cuda=True, parallel=config.parallel)


def _cpu(bundle: Bundle, config: EngineConfig, report: Report) -> Backend:
    del report
    return OnnxRuntimeBackend(bundle, config.threads, parallel=config.parallel)


_MAKERS: Mapping[str, _Make] = {
    "tensorrt": _tensorrt("tensorrt"),
    "tensorrt-rtx": _tensorrt("tensorrt-rtx"),
    "onnxruntime-cuda": _cuda,
    "onnxruntime": _cpu,
}
ORDER = tuple(_MAKERS)
