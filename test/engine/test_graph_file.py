# SPDX-License-Identifier: Apache-2.0
"""Graph files are looked through before a runtime sees them."""

from __future__ import annotations

import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vl_anomaly_ros.engine.graph_file import check_graph_file
from vl_anomaly_ros.errors import BundleError

OUTSIDE = r"g\.onnx: expected all weights inside or in g\.onnx\.data as bundle\.yaml lists it, got"


def graph(nodes: list[Any], weights: list[Any]) -> Any:
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])]
    return helper.make_graph(nodes, "g", ports, ports, weights)


def external(name: str = "w", location: str = "../../etc/passwd") -> Any:
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def check(model: Any) -> None:
    check_graph_file("g.onnx", model.SerializeToString())


def nested(depth: int, inner: Any) -> Any:
    for _ in range(depth):
        inner = graph([helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=graph([], []))], [])
    return inner


@pytest.mark.parametrize("file", ["visual.onnx", "head.onnx", "text.onnx"])
def test_whole_graphs_pass(tiny_bundle: Path, file: str) -> None:
    check_graph_file(file, (tiny_bundle / file).read_bytes())


def test_weights_in_other_files_are_found_wherever_they_hide() -> None:
    constant = helper.make_node("Constant", [], ["y"], value=external())
    sparse = onnx.SparseTensorProto(values=external("v"), indices=numpy_helper.from_array(np.zeros(2, np.int64)))
    hidden = [
        helper.make_model(graph([], [external()])),
        helper.make_model(graph([constant], [])),
        helper.make_model(nested(3, graph([], [external()]))),
        helper.make_model(nested(1, graph([constant], []))),
    ]
    with_function = helper.make_model(graph([], []))
    with_function.functions.append(helper.make_function("d", "f", [], ["y"], [constant], []))
    with_training = helper.make_model(graph([], []))
    with_training.training_info.add().algorithm.CopyFrom(graph([constant], []))
    with_sparse = helper.make_model(graph([], []))
    with_sparse.graph.sparse_initializer.append(sparse)
    location_alone = helper.make_model(graph([], [external()]))
    del location_alone.graph.initializer[0].external_data[:]
    for model in (*hidden, with_function, with_training, with_sparse, location_alone):
        with pytest.raises(BundleError, match=OUTSIDE):
            check(model)


def test_the_second_of_two_graphs_does_not_slip_through() -> None:
    """Protobuf merges a field that comes twice."""
    good, bad = helper.make_model(graph([], [])), helper.make_model(graph([], [external()]))
    with pytest.raises(BundleError, match=r"all weights inside|one ONNX graph"):
        check_graph_file("g.onnx", good.SerializeToString() + bad.SerializeToString())


def test_a_compiled_engine_is_refused() -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="engine.plan")
    with pytest.raises(BundleError, match="EPContext"):
        check(helper.make_model(graph([node], [])))


def test_graphs_within_graphs_are_limited() -> None:
    check(helper.make_model(nested(16, graph([], []))))
    with pytest.raises(BundleError, match="at most 16 graphs within graphs"):
        check(helper.make_model(nested(25, graph([], []))))


def test_other_kinds_of_file_are_refused_by_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as checkpoint:
        checkpoint.writestr("data.pkl", pickle.dumps({"a": 1}))
    kinds = {
        "a Python pickle": pickle.dumps({"a": 1}),
        "a shared library": b"\x7fELF\x02\x01\x01" + bytes(64),
        "a zip archive": (tmp_path / "model.pt").read_bytes(),
        "a TensorRT engine": b"ptrt" + bytes(64),
        "ONNX Runtime's own format": b"\x18\x00\x00\x00ORTM" + bytes(64),
        "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
        "expected one ONNX graph, got 0": b"",
        "got other bytes": b"not a graph",
    }
    for said, content in kinds.items():
        with pytest.raises(BundleError, match=said):
            check_graph_file("g.onnx", content)


def test_spoiled_bytes_pass_or_are_refused_and_nothing_else(tiny_bundle: Path) -> None:
    content = (tiny_bundle / "text.onnx").read_bytes()
    chance = random.Random(1)  # noqa: S311
    refused = 0
    for _ in range(2000):
        spoiled = bytearray(content)
        for _ in range(chance.randint(1, 8)):
            spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
        try:
            check_graph_file("g.onnx", bytes(spoiled[: chance.randrange(1, len(spoiled) + 1)]))
        except BundleError:
            refused += 1
    assert refused > 1000
