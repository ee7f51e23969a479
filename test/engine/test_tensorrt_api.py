# SPDX-License-Identifier: Apache-2.0
"""What is called of TensorRT, against what its versions have.

Recorded from NVIDIA's guides ("8.x to 10.x", "10.x to 11.x"), not tried on TensorRT 10 or 11 themselves, which
the package index does not bring. TensorRT-RTX, where it is installed, is asked itself.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import fake_cuda
import fake_gpu
import pytest

from vl_anomaly_ros.engine.tensorrt import build

SOURCES = sorted((Path(build.__file__).parent).glob("*.py"))
CALLED = {
    "Builder": {"create_network", "create_builder_config", "create_optimization_profile", "build_serialized_network"},
    "IBuilderConfig": {
        "num_compute_capabilities", "set_compute_capability", "add_optimization_profile", "progress_monitor",
        "create_timing_cache", "set_timing_cache", "get_timing_cache",
    },
    "ITimingCache": {"serialize"},
    "IOptimizationProfile": {"set_shape"},
    "OnnxParser": {"parse", "parse_from_file", "num_errors", "get_error"},
    "ParserError": {"desc"},
    "IProgressMonitor": {"phase_start", "step_complete", "phase_finish"},
    "Runtime": {"deserialize_cuda_engine"},
    "ICudaEngine": {
        "num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype", "get_tensor_shape",
        "get_tensor_profile_shape", "create_execution_context",
    },
    "IExecutionContext": {
        "set_input_shape", "get_tensor_shape", "set_tensor_address", "execute_async_v3", "is_stream_capturable",
    },
}  # fmt: skip
"""By class of the library. Compute capabilities and `is_stream_capturable` are of TensorRT-RTX alone, asked there."""
REMOVED_IN_10 = {
    "build_engine", "build_cuda_engine", "max_batch_size", "max_workspace_size", "num_bindings", "get_binding_index",
    "get_binding_shape", "get_binding_dtype", "binding_is_input", "set_binding_shape", "execute_async", "execute",
    "execute_async_v2", "create_execution_context_without_device_memory", "EXPLICIT_BATCH", "EXPLICIT_PRECISION",
    "get_profile_shape", "STRICT_TYPES",
}  # fmt: skip
REMOVED_IN_11 = {
    "FP16", "INT8", "FP8", "BF16", "INT4", "FP4", "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS",
    "DIRECT_IO", "int8_calibrator", "set_calibration_profile", "get_calibration_profile", "set_quantization_flag",
    "get_quantization_flag", "quantization_flags", "clear_quantization_flag", "device_memory_size",
    "platform_has_fast_fp16", "platform_has_fast_int8",
}  # fmt: skip


def attributes() -> set[str]:
    """Every attribute that the package's TensorRT code names."""
    found: set[str] = set()
    for source in SOURCES:
        found |= {node.attr for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Attribute)}
    return found


def test_nothing_that_was_removed_is_used() -> None:
    assert not attributes() & (REMOVED_IN_10 | REMOVED_IN_11)


def test_the_list_of_calls_is_complete() -> None:
    """What is called on the library's objects stands in the list, by the names that the code gives these objects."""
    text = "\n".join(source.read_text() for source in SOURCES)
    objects = r"(?:builder|config|parser|profile|self\._engine|self\._context|self\._runtime)"
    named = set(re.findall(rf"\b{objects}\.(\w+)", text)) - set(fake_cuda.FakeRuntime.__dict__)
    others = {"cudaDeviceAttr", "cudaMemcpyKind", "cudaStreamDestroy", "max_vocabulary"}
    assert named - others <= set().union(*CALLED.values())


@pytest.mark.parametrize("name", CALLED)
def test_tensorrt_rtx_has_it(name: str) -> None:
    library = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed here; .venv-train has it")
    assert set(dir(getattr(library, name))) >= CALLED[name]


def test_strong_types_are_asked_for_where_that_is_a_choice() -> None:
    assert build._strongly_typed(fake_gpu.fake_tensorrt()) == 2
    assert build._strongly_typed(SimpleNamespace()) == 0
    assert build._strongly_typed(SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace())) == 0


PARAMETERS = {
    "cudaMemsetAsync": 4, "cudaMemcpyAsync": 5, "cudaStreamBeginCapture": 2, "cudaStreamEndCapture": 1,
    "cudaGraphInstantiate": 2, "cudaGraphLaunch": 2, "cudaGraphDestroy": 1, "cudaGraphExecDestroy": 1,
    "cudaMemGetInfo": 0, "cudaGetLastError": 0, "cuModuleLoadData": 1, "cuModuleGetFunction": 2, "cuModuleUnload": 1,
    "cuLaunchKernel": 11,
}  # fmt: skip
"""How many each call takes, as the stand-in has them too."""


def test_cuda_python_has_what_is_called() -> None:
    pytest.importorskip("cuda.bindings", reason="cuda-python is not installed here; .venv-train has it")
    runtime, driver = (importlib.import_module(f"cuda.bindings.{name}") for name in ("runtime", "driver"))
    text = (Path(build.__file__).parent / "device.py").read_text()
    groups = {
        "cudaDevAttr": runtime.cudaDeviceAttr,
        "cudaMemcpyHost": runtime.cudaMemcpyKind,
        "cudaMemcpyDevice": runtime.cudaMemcpyKind,
        "cudaStreamCaptureModeT": runtime.cudaStreamCaptureMode,
    }
    for name in set(re.findall(r"\b(?:cuda|cu)[A-Z]\w+", text)) - {"cudaStreamNonBlocking"}:
        owner = next((group for start, group in groups.items() if name.startswith(start)), None)
        assert hasattr(owner or (runtime if name.startswith("cuda") else driver), name), name
    for name, count in PARAMETERS.items():
        assert name in text
        said = getattr(runtime if name.startswith("cuda") else driver, name).__doc__
        listed = re.match(rf"{name}\(([^)]*)\)", said)
        assert listed, said
        assert len([each for each in listed[1].split(",") if each.strip()]) == count, said


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_stand_in_takes_what_cuda_python_takes(name: str) -> None:
    call = getattr(fake_cuda.FakeRuntime if name.startswith("cuda") else fake_cuda.FakeDriver, name)
    given = inspect.signature(call).parameters.values()
    if not any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in given):
        assert len(given) - 1 == PARAMETERS[name]
