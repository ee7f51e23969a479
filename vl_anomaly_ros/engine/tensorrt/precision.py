# SPDX-License-Identifier: Apache-2.0
"""The image graph in mixed precision: TensorRT's networks are strongly typed, so precision is decided in the graph.

Weights and most arithmetic become float16. What adds up many numbers, divides, exponentiates or places things stays
float32: softmax, normalisation, reductions, resampling and its coordinates. Head and text graph stay whole: they
compare embeddings, which is where the score is made.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.graph_file import data_file
from vl_anomaly_ros.errors import EngineError

KEPT = (
    "Softmax", "LayerNormalization", "InstanceNormalization", "BatchNormalization", "LpNormalization", "ReduceMean",
    "ReduceSum", "ReduceL2", "ReduceMax", "ReduceMin", "CumSum", "Pow", "Sqrt", "Reciprocal", "Div", "Exp", "Log",
    "Erf", "Sin", "Cos", "Sigmoid", "Clip", "Resize", "GridSample", "Range", "Cast", "Tile", "Where",
)  # fmt: skip
"""Operators that stay float32."""
_MOST = 65504.0  # the largest finite float16
_MOST_BYTES = (1 << 31) - 1  # of a graph with its weights inside


@dataclass(frozen=True)
class Difference:
    """One output of the half-precision graph against the whole one.

    Attributes:
        largest: largest absolute difference.
        mean: mean absolute difference.
        scale: largest absolute value of the whole graph's.
    """

    largest: float
    mean: float
    scale: float


def half_precision(bundle: Bundle, graph: str = "visual") -> bytes:
    """The graph with float16 inside and float32 at its inputs and outputs.

    Raises:
        BundleError: the graph is not what was verified.
        EngineError: `onnx` is not installed, or the graph cannot be converted.
    """
    try:
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise EngineError(f"--precision fp16: expected the package onnx, got: {error}; pip install onnx") from error
    model = _model(onnx, bundle, f"{graph}.onnx")
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT:
            largest = float(np.abs(onnx.numpy_helper.to_array(weight)).max(initial=0.0))
            if not largest <= _MOST:
                raise EngineError(
                    f"{graph}.onnx: {weight.name}: expected weights up to {_MOST:g} for half precision, got "
                    f"{largest:g}; use fp32"
                )
    try:
        model = convert_float_to_float16(model, keep_io_types=True, op_block_list=list(KEPT), max_finite_val=_MOST)
        content: bytes = model.SerializeToString()
    except ValueError as error:  # protobuf's limit, or an operator that the converter does not know
        raise EngineError(f"{graph}.onnx: expected a graph that can be half precision, got: {error}") from error
    if len(content) > _MOST_BYTES:
        raise EngineError(f"{graph}.onnx: expected at most 2 GiB in half precision, got {len(content)} bytes; use fp32")
    return content


def differences(whole: bytes, half: bytes, inputs: dict[str, Any], threads: int = 1) -> dict[str, Difference]:
    """Both graphs on the same input, by ONNX Runtime on the CPU.

    It computes float16 operators in float32, and rounds results in between only where it has to: so this is what
    rounding the weights does, and a lower bound of what a GPU will differ by.

    Args:
        whole: graph, weights inside.
        half: the same in half precision.
        inputs: by name.
        threads: of the CPU.

    Raises:
        BundleError: a graph cannot be loaded.
        EngineError: it fails, or a half-precision output is not finite.
    """
    from vl_anomaly_ros.engine.onnxruntime import open_session, run_session

    found = {}
    sessions = [open_session(name, content, threads) for name, content in (("whole", whole), ("half", half))]
    names = [node.name for node in sessions[0].get_outputs()]
    for name, a, b in zip(names, *(run_session(session, names, inputs) for session in sessions)):
        if not np.isfinite(b).all():
            raise EngineError(f"{name}: expected finite numbers in half precision, got NaN or infinity; use fp32")
        gap = np.abs(a - b)
        found[name] = Difference(float(gap.max()), float(gap.mean()), float(np.abs(a).max()))
    return found


def _model(onnx: Any, bundle: Bundle, file: str) -> Any:
    """The verified graph with its weights inside."""
    model = onnx.load_model_from_string(bundle.read(file))
    weights = data_file(file)
    if weights in bundle.hashes:
        with tempfile.TemporaryDirectory(prefix="vl_anomaly_") as folder:
            (Path(folder) / weights).write_bytes(bundle.read(weights))
            onnx.load_external_data_for_model(model, folder)
    return model
