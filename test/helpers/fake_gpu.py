# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG005  (arguments are those of the libraries)
"""A TensorRT that is none, on a GPU that is none: ONNX Runtime for an engine.

Calls and results have the signatures of TensorRT-RTX 1.7. It shows that the right bytes are at the
right place when an engine runs; it says nothing about what a GPU computes or how fast.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
from fake_cuda import RECORDING

from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.tensorrt.backend import TensorRtBackend
from vl_anomaly_ros.engine.tensorrt.build import BuildSettings
from vl_anomaly_ros.engine.tensorrt.library import load_library


class FakeConfig:
    """`IBuilderConfig`; a timing cache is its bytes."""

    def __init__(self) -> None:
        self.progress_monitor: Any = None
        self.num_compute_capabilities = 0
        self.timings: bytes | None = None
        self.takes_timings = True

    def set_compute_capability(self, capability: Any, index: int) -> None:
        pass

    def add_optimization_profile(self, profile: Any) -> None:
        pass

    def create_timing_cache(self, serialized: bytes) -> bytes:
        return serialized

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if self.takes_timings:
            self.timings = cache
        return self.takes_timings

    def get_timing_cache(self) -> Any:
        return None if self.timings is None else SimpleNamespace(serialize=lambda: self.timings)


class FakeBuilder:
    """Makes an "engine" of a graph: the graph."""

    def __init__(self, log: Any) -> None:
        self.log = log

    def create_network(self, flags: int) -> Any:
        assert flags == STRONGLY_TYPED[0]
        return SimpleNamespace(content=b"")

    def create_builder_config(self) -> FakeConfig:
        return FakeConfig()

    def create_optimization_profile(self) -> Any:
        return SimpleNamespace(set_shape=lambda name, least, usual, most: PROFILE.__setitem__(name, most))

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        if config.progress_monitor is not None:
            config.progress_monitor.phase_start("building", None, 2)
            config.progress_monitor.step_complete("building", 0)
            config.progress_monitor.phase_finish("building")
        if config.timings is not None:
            config.timings += b"."  # as long as engines were built with it
        return network.content or None


STRONGLY_TYPED = [2]
PROFILE: dict[str, tuple[int, ...]] = {}


class FakeParser:
    """Takes everything."""

    num_errors = 0

    def __init__(self, network: Any, log: Any) -> None:
        del log
        self.network = network

    def parse(self, content: bytes) -> bool:
        self.network.content = content
        return True


class FakeEngine:
    """An ONNX graph behind the names of `ICudaEngine`."""

    def __init__(self, content: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        self.session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.nodes = {node.name: node for node in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.is_input = {node.name for node in self.session.get_inputs()}
        self.refuses = False
        self.refuses_recording = self.records_nothing = False
        self.outputs: dict[str, Callable[[Any], Any]] = {}  # what a test makes of an output, by name
        self.runs = 0

    @property
    def num_io_tensors(self) -> int:
        return len(self.nodes)

    def get_tensor_name(self, index: int) -> str:
        return str(list(self.nodes)[index])

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self.is_input else "output"

    def get_tensor_dtype(self, name: str) -> str:
        return str(self.nodes[name].type)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        assert profile == 0
        return [(), (), PROFILE[name]]

    def create_execution_context(self) -> FakeContext:
        return FakeContext(self)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(n if isinstance(n, int) else -1 for n in self.nodes[name].shape)


class FakeContext:
    """`IExecutionContext`; several share an engine."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        wanted = self.engine.get_tensor_shape(name)
        fits = len(wanted) == len(shape) and all(w in (-1, n) for w, n in zip(wanted, shape))
        self.shapes[name] = tuple(shape)
        return fits

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        rows = self.shapes.get("tokens", (0,))[0]
        return tuple(rows if n == -1 else n for n in self.engine.get_tensor_shape(name))

    def execute_async_v3(self, stream: int) -> bool:
        if self.engine.refuses or (stream in RECORDING and self.engine.refuses_recording):
            return False
        if stream not in RECORDING:
            self._run()
        elif not self.engine.records_nothing:
            RECORDING[stream].append(self._run)
        return True

    def _run(self) -> None:
        engine = self.engine
        engine.runs += 1
        inputs = {name: self._at(name, self.shapes[name]) for name in engine.is_input}
        names = [name for name in engine.nodes if name not in engine.is_input]
        for name, value in zip(names, engine.session.run(names, inputs)):
            self._at(name, value.shape)[...] = engine.outputs.get(name, lambda value: value)(value)

    def _at(self, name: str, shape: tuple[int, ...]) -> Any:
        dtype = np.dtype(DTYPES[str(self.engine.nodes[name].type)])
        size = int(np.prod(shape)) * dtype.itemsize
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self.addresses[name]))
        return memory.view(dtype).reshape(shape)


DTYPES = {"tensor(float)": "f4", "tensor(uint8)": "u1", "tensor(int64)": "i8", "tensor(int32)": "i4"}
ENGINES: list[FakeEngine] = []


class FakeTrtRuntime:
    """`Runtime`."""

    def __init__(self, log: Any) -> None:
        del log

    def deserialize_cuda_engine(self, plan: bytes) -> FakeEngine | None:
        if not plan:
            return None
        ENGINES.append(FakeEngine(plan))
        return ENGINES[-1]


class FakeLogger:
    """`Logger` and `ILogger`."""

    ERROR = "error"
    Severity = SimpleNamespace(ERROR="error", INTERNAL_ERROR="internal")

    def __init__(self, severity: str = "") -> None:
        self.severity = severity


class FakeMonitor:
    """`IProgressMonitor`."""


def fake_tensorrt() -> Any:
    """The module `tensorrt`, which builds on the device itself."""
    return SimpleNamespace(
        __version__="10.0-fake", Builder=FakeBuilder, OnnxParser=FakeParser, Runtime=FakeTrtRuntime, Logger=FakeLogger,
        ILogger=FakeLogger, IProgressMonitor=FakeMonitor, nptype=DTYPES.__getitem__,
        TensorIOMode=SimpleNamespace(INPUT="input"), NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
    )  # fmt: skip


def make_backend(bundle: Bundle, parallel: int = 1) -> TensorRtBackend:
    """A backend of the module `tensorrt`, which a test has put where it is looked for."""
    return TensorRtBackend(bundle, load_library("tensorrt"), BuildSettings(max_vocabulary=64), parallel=parallel)
