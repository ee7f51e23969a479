# SPDX-License-Identifier: Apache-2.0
"""The shipped image graph in half precision: what is converted, what is kept, and how much that changes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vl_anomaly_ros.engine.bundle import default_bundle
from vl_anomaly_ros.engine.tensorrt.precision import KEPT, differences, half_precision
from vl_anomaly_ros.errors import EngineError

onnx = pytest.importorskip("onnx")
FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


@pytest.fixture(scope="module")
def half() -> bytes:
    return half_precision(default_bundle())


def test_weights_are_half_and_what_must_be_exact_is_not(half: bytes) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(half))
    graph = model.graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    types |= {weight.name: weight.data_type for weight in graph.initializer}
    assert {types[value.name] for value in graph.output} == {FLOAT}
    assert types["image"] == onnx.TensorProto.UINT8
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert convolutions
    assert all(types[node.input[1]] == HALF for node in convolutions)
    for node in graph.node:
        if node.op_type in KEPT and node.op_type != "Cast":
            assert HALF not in {types.get(name) for name in node.input}, node.name
    assert len(half) < 0.6 * len(default_bundle().read("visual.onnx"))


def test_outputs_differ_little(half: bytes) -> None:
    bundle = default_bundle()
    image = np.random.default_rng(0).integers(0, 256, (1, bundle.input_height, bundle.input_width, 3), dtype=np.uint8)
    found = differences(bundle.read("visual.onnx"), half, {"image": image})
    assert set(found) == {"mask_logits", "class_logits", "mask_embeddings", "pixel_embeddings", "clip_features"}
    for name, one in found.items():
        assert 0 < one.mean < 2e-3 * one.scale, name


@pytest.mark.parametrize("weight", [7e4, np.inf, np.nan])
def test_weights_beyond_half_precision_are_refused(weight: float) -> None:
    """A float16 ends at 65504; cut there, they would be other weights."""
    value = onnx.helper.make_tensor_value_info("x", FLOAT, [1])
    weights = [onnx.numpy_helper.from_array(np.array([weight], np.float32), "w")]
    result = onnx.helper.make_tensor_value_info("y", FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Mul", ["x", "w"], ["y"])], "g", [value], [result], weights)
    content = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()
    bundle: Any = SimpleNamespace(hashes={}, read=lambda _file: content)
    with pytest.raises(EngineError, match=r"visual\.onnx: w: expected weights up to 65504 .* use fp32"):
        half_precision(bundle)
