# SPDX-License-Identifier: Apache-2.0
"""The tiny bundle with two convolutions that change nothing: one that may become 8 bits, and the last one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tiny_bundle import build_tiny_bundle, rehash

FIRST, LAST = "first", "last"


def build_convolved_bundle(path: Path) -> Path:
    """Write the bundle into the folder `path` and return it."""
    build_tiny_bundle(path)
    model = onnx.load(path / "visual.onnx")
    graph = model.graph
    (white,) = (weight.name for weight in graph.initializer if np.array_equal(numpy_helper.to_array(weight), 255))
    (scaled,) = (node for node in graph.node if node.op_type == "Div" and node.input[1] == white)
    colours = scaled.output[0]
    for node in graph.node:
        node.input[:] = ["seen" if name == colours else name for name in node.input]
    at = list(graph.node).index(scaled) + 1
    graph.node.insert(at, helper.make_node("Conv", [colours, "same"], ["between"], FIRST))
    graph.node.insert(at + 1, helper.make_node("Conv", ["between", "same_again"], ["seen"], LAST))
    identity = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    graph.initializer.extend(numpy_helper.from_array(identity, name) for name in ("same", "same_again"))
    onnx.checker.check_model(model)
    (path / "visual.onnx").write_bytes(model.SerializeToString(deterministic=True))
    return rehash(path)
