# SPDX-License-Identifier: Apache-2.0
"""The image graph in mixed precision: TensorRT's networks are strongly typed, so precision is decided in the graph.

Weights and most arithmetic become float16. What adds up many numbers, divides, exponentiates or places things stays
float32: softmax, normalisation, reductions, resampling and its coordinates. Head and text graph stay whole: they
compare embeddings, which is where the score is made.
"""

from __future__ import annotations

from dataclasses import dataclass
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
MOST_BYTES = (1 << 31) - 1
"""Of a graph with its weights inside: what protobuf can hold."""


@dataclass(frozen=True)
class Difference:
    """One output of a graph of lower precision against the whole one's.

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
        from google.protobuf.message import EncodeError
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise EngineError(f"--precision fp16: expected the package onnx, got: {error}; pip install onnx") from error
    model = whole_model(bundle, f"{graph}.onnx", shapes=True)
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT:
            largest = float(np.abs(onnx.numpy_helper.to_array(weight)).max(initial=0.0))
            if not largest <= _MOST:
                raise EngineError(
                    f"{graph}.onnx: {weight.name}: expected weights up to {_MOST:g} for half precision, got "
                    f"{largest:g}; use fp32"
                )
    try:
        model = convert_float_to_float16(
            model, keep_io_types=True, op_block_list=list(KEPT), max_finite_val=_MOST, disable_shape_infer=True
        )
        content: bytes = model.SerializeToString()
    except (ValueError, EncodeError) as error:  # protobuf's limit, or an operator that the converter does not know
        raise EngineError(f"{graph}.onnx: expected a graph that can be half precision, got: {error}") from error
    if len(content) > MOST_BYTES:
        raise EngineError(f"{graph}.onnx: expected at most 2 GiB in half precision, got {len(content)} bytes; use fp32")
    return content


def differences(whole: bytes, lower: bytes, inputs: dict[str, Any], threads: int = 1) -> dict[str, Difference]:
    """Both graphs on the same input, by ONNX Runtime on the CPU.

    It computes in float32 and rounds where the graph has to be rounded. For 8 bits that is what a GPU computes, up to
    the order of sums. For float16 it is what rounding the weights does: a lower bound of what a GPU will differ by.

    Args:
        whole: graph, weights inside.
        lower: the same in lower precision.
        inputs: by name.
        threads: of the CPU.

    Raises:
        BundleError: a graph cannot be loaded.
        EngineError: it fails, or an output of lower precision is not finite.
    """
    from vl_anomaly_ros.engine.onnxruntime import run_session

    found = {}
    sessions = [simulated(content, threads) for content in (whole, lower)]
    names = [node.name for node in sessions[0].get_outputs()]
    for name, a, b in zip(names, *(run_session(session, names, inputs) for session in sessions)):
        if not np.isfinite(b).all():
            raise EngineError(f"{name}: expected finite numbers in lower precision, got NaN or infinity; use fp32")
        gap = np.abs(a - b)
        found[name] = Difference(float(gap.max()), float(gap.mean()), float(np.abs(a).max()))
    return found


def simulated(content: bytes, threads: int = 1) -> Any:
    """A session of ONNX Runtime on the CPU that rounds to 8 bits where the graph says so and computes in float32.

    By itself the runtime would take its own 8-bit arithmetic, whose sums of products overflow on processors without
    VNNI; a GPU sums them exactly, and so, but for rounding, does float32.

    Args:
        content: graph, weights inside.
        threads: of the CPU.

    Raises:
        BundleError: the graph cannot be loaded.
    """
    from vl_anomaly_ros.engine.onnxruntime import open_session

    return open_session("visual.onnx", content, threads, as_rounded=True)


def whole_model(bundle: Bundle, file: str, *, shapes: bool = False) -> Any:
    """The verified graph as `onnx.ModelProto`, its weights inside.

    Args:
        bundle: whose.
        file: of the graph.
        shapes: infer them first, while weights that lie beside the graph are not yet in it: together they may be more
            than protobuf can hold.

    Raises:
        BundleError: it is not what was verified.
    """
    import onnx

    model = onnx.load_model_from_string(bundle.read(file))
    if shapes:
        model = onnx.shape_inference.infer_shapes(model)
    if data_file(file) in bundle.hashes:
        with bundle.laid_down(file) as path:
            onnx.load_external_data_for_model(model, str(path.parent))
    return model
