# SPDX-License-Identifier: Apache-2.0
"""Which backend runs a bundle: the best that is really usable, proven against the CPU before it is trusted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from vl_anomaly_ros.config import EngineConfig
from vl_anomaly_ros.engine.backend import Backend
from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.types import ByteArray

MOST_DIFFERENCE = {"fp32": 0.01, "fp16": 0.05}
"""Of a score in 0..1, at any cell of the picture that a backend is proven on."""
_MOST_MEAN = 0.1  # of these

logger = logging.getLogger(__name__)


def choose_backend(bundle: Bundle, config: EngineConfig) -> Backend:
    """The backend that `engine.backend` names; with `auto` the first of `ORDER` that can be used.

    What runs on a GPU is compared with ONNX Runtime on the CPU first: one that computes something else is not used.

    Raises:
        BundleError: the bundle is not what was verified.
        EngineError: the one that is named cannot be used.
    """
    if config.backend != "auto":
        return _made(config.backend, bundle, config)
    for name, why in refusals(bundle, config):
        if isinstance(why, EngineError):
            logger.info("%s is not used: %s", name, why)
        else:
            return why
    raise EngineError("engine.backend: expected one that can be used, found none")


def refusals(bundle: Bundle, config: EngineConfig) -> Iterator[tuple[str, Backend | EngineError]]:
    """Each of `ORDER` with why it cannot be used; the first that can, with itself, is the last."""
    for name in ORDER:
        made = _made_or_why_not(name, bundle, config)
        yield name, made
        if not isinstance(made, EngineError):
            return


def obstacle(name: str) -> str:
    """What is missing for one of `ORDER`, without building anything; empty where nothing is."""
    from vl_anomaly_ros.engine.onnxruntime import check_cuda
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


def prove(backend: Backend, bundle: Bundle, threads: int) -> None:
    """Compare a backend with ONNX Runtime on the CPU.

    Raises:
        EngineError: a score differs by more than `MOST_DIFFERENCE` of its precision.
    """
    from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend

    image = _picture(bundle.input_width, bundle.input_height)
    reference = Engine(bundle, OnnxRuntimeBackend(bundle, threads))
    gap = np.abs(Engine(bundle, backend).run(image).score - reference.run(image).score)
    reference.close()
    most = MOST_DIFFERENCE[backend.precision]
    if gap.max() > most or gap.mean() > _MOST_MEAN * most:
        raise EngineError(
            f"{backend.name}: expected the scores of the CPU up to {most} on {backend.device}, they differ by up to "
            f"{gap.max():.3g}; use another backend or precision, and report it"
        )
    logger.info("%s: scores differ from those of the CPU by at most %.2g", backend.name, gap.max())


def _made_or_why_not(name: str, bundle: Bundle, config: EngineConfig) -> Backend | EngineError:
    try:
        return _made(name, bundle, config)
    except EngineError as error:
        return error


def _made(name: str, bundle: Bundle, config: EngineConfig) -> Backend:
    backend = _MAKERS[name](bundle, config)
    if name != "onnxruntime":
        try:
            prove(backend, bundle, config.threads)
        except BaseException:
            backend.close()
            raise
    return backend


def _tensorrt(name: str) -> Callable[[Bundle, EngineConfig], Backend]:
    def make(bundle: Bundle, config: EngineConfig) -> Backend:
        from vl_anomaly_ros.engine.tensorrt.backend import TensorRtBackend
        from vl_anomaly_ros.engine.tensorrt.build import BuildSettings
        from vl_anomaly_ros.engine.tensorrt.library import load_library

        library = load_library(name)
        return TensorRtBackend(bundle, library, BuildSettings(config.precision), report=_log_steps())

    return make


def _log_steps() -> Callable[[str, str, int, int], None]:
    """A line whenever a graph or a phase of its build begins."""
    last = ("", "")

    def report(graph: str, phase: str, done: int, total: int) -> None:
        nonlocal last
        if (graph, phase) != last:
            last = graph, phase
            logger.info("building the engine of %s.onnx: %s, step %d of %d", graph, phase, done, total)

    return report


def _cuda(bundle: Bundle, config: EngineConfig) -> Backend:
    from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend

    if config.precision != "fp32":
        raise EngineError(f"onnxruntime-cuda: expected engine.precision fp32, got {config.precision}")
    return OnnxRuntimeBackend(bundle, config.threads, cuda=True)


def _cpu(bundle: Bundle, config: EngineConfig) -> Backend:
    from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(bundle, config.threads)


_MAKERS: Mapping[str, Callable[[Bundle, EngineConfig], Backend]] = {
    "tensorrt": _tensorrt("tensorrt"),
    "tensorrt-rtx": _tensorrt("tensorrt-rtx"),
    "onnxruntime-cuda": _cuda,
    "onnxruntime": _cpu,
}
ORDER = tuple(_MAKERS)


def _picture(width: int, height: int) -> ByteArray:
    """(height, width, 3) uint8: soft patches of all colours with a little noise, the same each time."""
    rng = np.random.default_rng(0)
    patches = np.kron(rng.integers(0, 256, (8, 16, 3)), np.ones((-(-height // 8), -(-width // 16), 1), np.int64))
    noisy = patches[:height, :width] + rng.integers(-12, 13, (height, width, 3))
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)
