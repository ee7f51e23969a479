# SPDX-License-Identifier: Apache-2.0
"""The image graph in 8 bits: explicit QuantizeLinear and DequantizeLinear nodes around its heavy layers.

As TensorRT wants it: signed, symmetric about zero; weights with one scale a channel, activations with one a tensor.
The range of an activation is the largest that a set of pictures has shown. Other methods of ONNX Runtime (entropy,
percentiles) keep every activation of every picture for a histogram, which takes many times the memory and the time.

Quantised are convolutions, and matrix products that run over pixels. Float32 stay the layers next to an output
(what is compared as an embedding or makes the score), products over a few queries (little work, much effect), biases,
and everything that is no such layer: softmax, normalisation, resampling. Head and text graph stay whole.
"""

from __future__ import annotations

import hashlib
import logging
import math
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.preprocess import Letterbox
from vl_anomaly_ros.engine.tensorrt.precision import MOST_BYTES, whole_model
from vl_anomaly_ros.errors import EngineError, VlAnomalyError
from vl_anomaly_ros.types import ByteArray

FILE = "visual.onnx"
LEAST_ROWS = 256
"""A matrix product of fewer rows is over queries, not over pixels."""
_PRODUCTS = ("MatMul", "Gemm")
_OPERATORS = ("Conv", *_PRODUCTS)
OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,  # TensorRT adds biases in float32
    "AddQDQPairToWeight": True,  # TensorRT rounds the weights itself: what each of its versions takes
    "OpTypesToExcludeOutputQuantization": list(
        _OPERATORS
    ),  # NVIDIA: quantise what goes into a layer, not what comes out
    "QDQOpTypePerChannelSupportToAxis": {"MatMul": 1},
}
"""Of `onnxruntime.quantization.quantize_static`."""


@dataclass(frozen=True)
class Quantised:
    """The image graph in 8 bits.

    Attributes:
        graph: ONNX, weights inside.
        pictures: number of those that the ranges are from.
        pictures_sha256: of them as the network saw them, in order.
    """

    graph: bytes
    pictures: int
    pictures_sha256: str


def quantised(bundle: Bundle, pictures: Iterable[ByteArray]) -> Quantised:
    """The image graph with the ranges that the pictures show; takes a run of the network on the CPU for each.

    Args:
        bundle: whose graph.
        pictures: (h, w, 3) uint8 RGB each, of any size; such as the vehicle will see, in all light and weather.

    Raises:
        BundleError: the graph is not what was verified.
        EngineError: there is no picture, `onnx` is not installed, or the graph cannot be quantised.
    """
    try:
        from google.protobuf.message import EncodeError
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise EngineError(f"--precision int8: expected the package onnx, got: {error}; pip install onnx") from error
    model = whole_model(bundle, FILE)
    try:
        layers = quantised_layers(model)
    except (ValueError, EncodeError) as error:  # protobuf's limit
        raise EngineError(f"{FILE}: expected at most 2 GiB with its weights for 8 bits, got more; use fp32") from error
    if not layers:
        raise EngineError(f"{FILE}: expected layers with constant weights for 8 bits, found none; use fp32 or fp16")
    reader = _Reader(bundle, pictures)
    with tempfile.TemporaryDirectory(prefix="vl_anomaly_") as folder, _without_advice():
        path = Path(folder) / FILE
        try:
            quantize_static(
                model, path, reader, QuantFormat.QDQ, list(_OPERATORS), per_channel=True,
                activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, nodes_to_quantize=layers,
                calibrate_method=CalibrationMethod.MinMax, extra_options=dict(OPTIONS),
            )  # fmt: skip
        except VlAnomalyError:  # of the pictures
            raise
        except Exception as error:  # of onnx, protobuf and ONNX Runtime, which share no base class
            if not reader.count:
                raise EngineError("--calibration-images: expected pictures, got none") from error
            raise EngineError(f"{FILE}: expected a graph that can be 8 bits, got: {error}; use fp32 or fp16") from error
        graph = path.read_bytes()
    if len(graph) > MOST_BYTES:
        raise EngineError(f"{FILE}: expected at most 2 GiB in 8 bits, got {len(graph)} bytes; use fp32")
    return Quantised(graph, reader.count, reader.sha256.hexdigest())


def quantised_layers(model: Any) -> list[str]:
    """Names of the layers that become 8 bits; nodes without a name are given one.

    Args:
        model: `onnx.ModelProto`.
    """
    import onnx

    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{index}"
    weights = {weight.name for weight in model.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input)
    }
    last = _last_layers(model.graph)
    return [
        node.name
        for node in model.graph.node
        if node.op_type in _OPERATORS
        and node.input[1] in weights
        and node.name not in last
        and (node.op_type not in _PRODUCTS or _rows(shapes.get(node.input[0], [])) >= LEAST_ROWS)
    ]


def _rows(shape: list[int]) -> int:
    """Of a matrix product, by its first input; a dimension that is not known (0) counts as 1."""
    return math.prod(max(length, 1) for length in shape[:-1])


def _last_layers(graph: Any) -> set[str]:
    """Layers with weights from which an output is reached through no other such layer."""
    maker = {output: node for node in graph.node for output in node.output}
    constant = {weight.name for weight in graph.initializer}
    for node in graph.node:  # weights that several layers share come through Identity
        if node.op_type == "Constant" or (node.op_type == "Identity" and node.input[0] in constant):
            constant.add(node.output[0])
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [output.name for output in graph.output]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in maker:
            continue
        seen.add(name)
        node = maker[name]
        if node.op_type in _OPERATORS and node.input[1] in constant:
            found.add(node.name)
        else:
            waiting += node.input
    return found


class _Reader:
    """Pictures as ONNX Runtime's `CalibrationDataReader` gives them, counted and hashed on the way."""

    def __init__(self, bundle: Bundle, pictures: Iterable[ByteArray]) -> None:
        self._bundle, self._pictures = bundle, iter(pictures)
        self.count, self.sha256 = 0, hashlib.sha256()

    def get_next(self) -> dict[str, ByteArray] | None:
        """The next one as the network's input; None at the end."""
        picture = next(self._pictures, None)
        if picture is None:
            return None
        bundle = self._bundle
        place = Letterbox.fit(picture.shape[1], picture.shape[0], bundle.input_width, bundle.input_height)
        image = np.ascontiguousarray(place.apply(picture, bundle.mean))
        self.count += 1
        self.sha256.update(image.tobytes())
        return {"image": image}


@contextmanager
def _without_advice() -> Iterator[None]:
    """ONNX Runtime warns through the root logger that a graph should be optimised first: that is TensorRT's to do."""

    def from_elsewhere(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in record.pathname

    root = logging.getLogger()
    root.addFilter(from_elsewhere)
    try:
        yield
    finally:
        root.removeFilter(from_elsewhere)
