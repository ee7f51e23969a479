# SPDX-License-Identifier: Apache-2.0
"""The image graph in 8 bits: which layers, with which numbers, by which pictures, and how much that changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_gpu
import numpy as np
import pytest
from convolved_bundle import FIRST, LAST, build_convolved_bundle
from tiny_bundle import picture

from vl_anomaly_ros import cli
from vl_anomaly_ros.engine.bundle import Bundle, default_bundle, load_bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.engine.tensorrt.backend import TensorRtBackend
from vl_anomaly_ros.engine.tensorrt.build import BuildSettings
from vl_anomaly_ros.engine.tensorrt.cache import default_folder
from vl_anomaly_ros.engine.tensorrt.engines import engines_of, recipe_of
from vl_anomaly_ros.engine.tensorrt.library import Library
from vl_anomaly_ros.engine.tensorrt.precision import differences, simulated
from vl_anomaly_ros.engine.tensorrt.quantisation import FILE, quantised, quantised_layers
from vl_anomaly_ros.engine.tensorrt.ranges import measure, measured
from vl_anomaly_ros.errors import BundleError, EngineError, EvaluationError
from vl_anomaly_ros.types import ByteArray

onnx = pytest.importorskip("onnx")
FLOAT, INT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8


@pytest.fixture
def convolved(tmp_path: Path) -> Bundle:
    return load_bundle(build_convolved_bundle(tmp_path / "bundle"))


@pytest.fixture
def library() -> Library:
    return Library("tensorrt", fake_gpu.fake_tensorrt(), "10.0")


def grey(level: int) -> ByteArray:
    return np.full((32, 64, 3), level, np.uint8)


def ranges_of(graph: bytes) -> dict[str, float]:
    """Scale of each activation that is quantised; their zero points are zero and of 8 signed bits."""
    model = onnx.load_model_from_string(graph)
    values = {weight.name: onnx.numpy_helper.to_array(weight) for weight in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = values[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
        if node.op_type == "QuantizeLinear" and node.input[0] not in values:
            found[node.input[0]] = float(values[node.input[1]])
    return found


def test_the_shipped_bundle_changes_little_and_keeps_what_makes_the_score() -> None:
    """On noise, which is no picture of a road: the bench measures on pictures."""
    bundle = default_bundle()
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (bundle.input_height, bundle.input_width, 3), dtype=np.uint8)
    graph = quantised(bundle, [image]).graph
    found = differences(bundle.read(FILE), graph, {"image": image[None]})
    assert set(found) == {"mask_logits", "class_logits", "mask_embeddings", "pixel_embeddings", "clip_features"}
    for name, one in found.items():
        assert 0 < one.mean < 0.05 * one.scale, name
    model = onnx.load_model_from_string(graph)
    made = {output: node for node in model.graph.node for output in node.output}
    values = {weight.name: weight for weight in model.graph.initializer}
    rounded = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in made]
    assert len(rounded) > 40
    for node in rounded:
        for name in node.input[:2]:
            assert made[name].op_type == "DequantizeLinear"
        scale = values[made[node.input[1]].input[1]]
        assert list(scale.dims) == list(values[made[made[node.input[1]].input[0]].input[0]].dims[:1])  # one a channel
        assert all(values[bias].data_type == FLOAT for bias in node.input[2:])
    names = {node.name for node in model.graph.node if node.op_type == "DequantizeLinear"}
    assert not any("class_predictor" in name or "mask_adapter.2" in name for name in names)
    assert {value.type.tensor_type.elem_type for value in model.graph.output} == {FLOAT}
    assert ranges_of(graph)


def small(nodes: list[Any], weights: dict[str, tuple[int, ...]], shape: list[int]) -> Any:
    x = onnx.helper.make_tensor_value_info("x", FLOAT, shape)
    y = onnx.helper.make_tensor_value_info("y", FLOAT, None)
    constants = [onnx.numpy_helper.from_array(np.ones(size, np.float32), name) for name, size in weights.items()]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], constants)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])


@pytest.mark.parametrize(("rows", "taken"), [(255, []), (256, ["product"])])
def test_products_over_pixels_are_taken_and_those_over_queries_are_not(rows: int, taken: list[str]) -> None:
    node = onnx.helper.make_node
    nodes = [node("MatMul", ["x", "a"], ["b"], "product"), node("MatMul", ["b", "c"], ["y"], "last")]
    assert quantised_layers(small(nodes, {"a": (4, 4), "c": (4, 4)}, [1, rows, 4])) == taken


def test_shared_weights_and_what_has_none_are_left_and_looked_through() -> None:
    """Neither may be quantised by the library, and only the first of them ends the way from an output."""
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["first"]),
        node("Conv", ["first", "w"], ["second"], "second"),
        node("Identity", ["w"], ["shared"]),
        node("Conv", ["second", "shared"], ["third"], "third"),
        node("MatMul", ["third", "third"], ["square"], "square"),
        node("Relu", ["square"], ["y"]),
    ]
    model = small(nodes, {"w": (3, 3, 1, 1)}, [1, 3, 4, 4])
    assert quantised_layers(model) == ["node_0", "second"]


def test_a_range_is_the_largest_that_any_picture_shows(convolved: Bundle) -> None:
    model = onnx.load_model_from_string(convolved.read(FILE))
    (layer,) = (node for node in model.graph.node if node.name == FIRST)
    assert quantised_layers(model) == [FIRST]
    for levels in ((51, 204), (204, 51)):
        ranges = ranges_of(quantised(convolved, [grey(level) for level in levels]).graph)
        assert ranges == {layer.input[0]: pytest.approx(204 / 255 / 127, rel=1e-5)}


def test_it_is_told_which_pictures(convolved: Bundle) -> None:
    dark, light = grey(0), grey(200)
    made = quantised(convolved, [dark, light])
    assert made.pictures == 2
    again = quantised(convolved, iter([dark, light]))
    assert again == made
    assert quantised(convolved, [light, dark]).pictures_sha256 != made.pictures_sha256
    larger = quantised(convolved, [np.full((320, 640, 3), 0, np.uint8), light])  # the network sees the same
    assert larger == made


def test_it_rounds_as_8_bits_do(convolved: Bundle) -> None:
    """With a range of 0 to 1 on 127 steps a grey of 200 is 99.6 steps, thus 100."""
    graph = quantised(convolved, [grey(255)]).graph
    model = onnx.load_model_from_string(graph)
    (last,) = (node for node in model.graph.node if node.name == LAST)
    model.graph.output.append(onnx.helper.make_tensor_value_info(last.output[0], FLOAT, None))
    session = simulated(model.SerializeToString())
    (seen,) = session.run([last.output[0]], {"image": grey(200)[None]})
    np.testing.assert_allclose(seen, 100 / 127, rtol=1e-6)


def test_no_picture(convolved: Bundle) -> None:
    with pytest.raises(EngineError, match="--calibration-images: expected pictures, got none"):
        quantised(convolved, [])


def test_a_picture_that_cannot_be_read_is_told_as_such(convolved: Bundle) -> None:
    def pictures() -> Iterator[ByteArray]:
        yield grey(1)
        raise EvaluationError("b.png: damaged")

    with pytest.raises(EvaluationError, match=r"b\.png"):
        quantised(convolved, pictures())


def test_nothing_to_quantise(tiny_bundle: Path) -> None:
    with pytest.raises(EngineError, match=r"visual\.onnx: expected layers with constant weights .* use fp32"):
        quantised(load_bundle(tiny_bundle), [grey(1)])


def test_no_graph_to_simulate() -> None:
    with pytest.raises(BundleError, match="expected a graph"):
        simulated(b"no graph")


def test_what_was_measured_is_found_for_this_bundle_alone(convolved: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    made = measure(convolved, [grey(10)], folder)
    assert measured(convolved, folder) == made
    other = measure(convolved, [grey(10), grey(250)], folder)
    assert other.graph != made.graph
    assert measured(convolved, folder) == other  # in place of the first
    changed = replace(convolved, hashes={**convolved.hashes, FILE: "0" * 64})
    with pytest.raises(EngineError, match="found none for the bundle tiny"):
        measured(changed, folder)


def test_what_was_altered_is_not_used(convolved: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    measure(convolved, [grey(10)], tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob(f"*/{FILE}")
    kept.write_bytes(convolved.read(FILE))
    with pytest.raises(EngineError, match="expected ranges"):
        measured(convolved, tmp_path / "cache")
    assert "was altered" in caplog.text


def test_engines_depend_on_the_ranges(convolved: Bundle, library: Library, tmp_path: Path) -> None:
    folder, settings = tmp_path / "cache", BuildSettings("int8", device="Fake GPU, 8.9")
    with pytest.raises(EngineError, match="--precision int8 --calibration-images DIR"):
        engines_of(library, convolved, settings, folder)
    assert not list(folder.glob("*/*.engine"))
    graphs = []
    for levels in ((10,), (10, 250)):
        graphs.append(measure(convolved, [grey(level) for level in levels], folder).graph)
        entry, _ = engines_of(library, convolved, settings, folder)
        assert entry.built
        assert entry.files["visual.engine"] == graphs[-1]  # the library gets the quantised graph
        assert entry.files["head.engine"] == convolved.read("head.onnx")
        assert not engines_of(library, convolved, settings, folder)[0].built
    recipes = [recipe_of(library, convolved, settings, graph) for graph in graphs]
    recipes += [recipe_of(library, convolved, BuildSettings(name, device=settings.device)) for name in ("fp32", "fp16")]
    assert len({str(recipe) for recipe in recipes}) == 4


@pytest.mark.usefixtures("gpu", "driver")
def test_the_node_runs_what_the_command_has_measured(convolved: Bundle, library: Library) -> None:
    with pytest.raises(EngineError, match="--precision int8 --calibration-images DIR"):
        TensorRtBackend(convolved, library, BuildSettings("int8"))
    measure(convolved, [picture()], default_folder())
    backend = TensorRtBackend(convolved, library, BuildSettings("int8"))
    assert backend.precision == "int8"
    scores = [Engine(convolved, each).run(picture()).score for each in (backend, OnnxRuntimeBackend(convolved, 1))]
    gap = np.abs(scores[0] - scores[1])
    assert 0 < gap.max() < 0.05
    backend.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--precision", "fp16", "--calibration-images", "."], "--calibration-images: expected --precision int8"),
        (["--precision", "int8"], "--precision int8 --calibration-images DIR"),
        (["--precision", "int8", "--calibration-images", "{empty}"], "expected pictures"),
    ],
)
@pytest.mark.usefixtures("gpu")
def test_wrong_arguments_are_refused(
    words: list[str], said: str, convolved: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    words = [word.format(empty=tmp_path / "empty") for word in words]
    command = ["build-engine", "--bundle", str(convolved.path), "--backend", "tensorrt", *words]
    assert cli.main(command) == 1
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


@pytest.mark.usefixtures("gpu")
def test_the_command_measures_once_and_builds(
    convolved: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index, level in enumerate((10, 250)):
        assert cv2.imwrite(str(pictures / f"{index}.png"), grey(level))
    command = ["build-engine", "--bundle", str(convolved.path), "--backend", "tensorrt", "--precision", "int8"]
    assert cli.main([*command, "--calibration-images", str(pictures)]) == 0
    said = capsys.readouterr()
    assert re.search(r"visual\.engine .* built in", said.out)
    assert "pre-processing" not in said.err  # the library's advice, which nobody can follow
    assert cli.main(command) == 0
    assert re.search(r"visual\.engine .* found", capsys.readouterr().out)
