# SPDX-License-Identifier: Apache-2.0
"""Engines compiled ahead of time, by TensorRT-RTX itself, for GPUs that are not here."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from convolved_bundle import build_convolved_bundle

from vl_anomaly_ros import cli
from vl_anomaly_ros.engine.bundle import default_bundle, load_bundle
from vl_anomaly_ros.engine.tensorrt.build import GRAPHS, BuildSettings, build_engine, profiles
from vl_anomaly_ros.engine.tensorrt.engines import recipe_of
from vl_anomaly_ros.engine.tensorrt.library import Library, load_library
from vl_anomaly_ros.engine.tensorrt.quantisation import quantised
from vl_anomaly_ros.errors import EngineError

pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed here; ./run test runs these in .venv-train")

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library("tensorrt-rtx")


def test_the_library_names_what_it_builds_for(library: Library) -> None:
    assert {"8.6", "8.9", "12.0"} <= set(library.capabilities)


@pytest.mark.parametrize("capability", ["8.6", "8.9", "12.0"])
def test_the_shipped_bundle_compiles(capability: str, library: Library) -> None:
    bundle = default_bundle()
    seen: list[tuple[str, int, int]] = []
    plans = [
        build_engine(
            library, bundle, graph, BuildSettings(compute_capability=capability), lambda *step: seen.append(step)
        )
        for graph in GRAPHS
    ]
    assert all(len(plan) > 100_000 for plan in plans)
    assert len(plans[0]) > (bundle.path / "visual.onnx").stat().st_size / 2
    assert seen
    assert all(1 <= done <= total for _, done, total in seen)


def test_half_precision_compiles_smaller(library: Library) -> None:
    bundle = default_bundle()
    whole, half = (
        len(build_engine(library, bundle, "visual", BuildSettings(precision, "8.9"))) for precision in ("fp32", "fp16")
    )
    assert half < whole


def test_8_bits_compile(library: Library) -> None:
    """Whether a GPU then computes in 8 bits is not known here; the graph with its rounding is taken."""
    bundle = default_bundle()
    graph = quantised(bundle, [np.full((bundle.input_height, bundle.input_width, 3), 120, np.uint8)]).graph
    assert build_engine(library, bundle, "visual", BuildSettings("int8", "8.9"), eight_bits=graph)


def test_the_command_measures_ranges_then_builds(tmp_path: Path, capsys: Captured) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    assert cv2.imwrite(str(pictures / "a.png"), np.full((32, 64, 3), 120, np.uint8))
    words = ["build-engine", "--bundle", str(build_convolved_bundle(tmp_path / "bundle")), "--backend", "tensorrt-rtx"]
    words += ["--compute-capability", "8.9", "--precision", "int8", "--cache", str(tmp_path / "cache"), "--json"]
    assert cli.main([*words, "--calibration-images", str(pictures)]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["built"]
    assert first["ranges"]["pictures"] == 1
    assert cli.main(words) == 0
    second = json.loads(capsys.readouterr().out)
    assert not second["built"]
    assert (second["entry"], second["ranges"]) == (first["entry"], first["ranges"])


def test_the_command_builds_then_finds(tiny_bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    words = ["build-engine", "--bundle", str(tiny_bundle), "--backend", "tensorrt-rtx", "--compute-capability", "8.9"]
    words += ["--cache", str(tmp_path / "cache"), "--json"]
    assert cli.main(words) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["built"]
    assert set(first["seconds"]) == set(GRAPHS)
    assert cli.main(words) == 0
    second = json.loads(capsys.readouterr().out)
    assert not second["built"]
    assert second["entry"] == first["entry"]
    assert second["bytes"] == first["bytes"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--compute-capability", "1.0"], "--compute-capability: expected one of"),
        (["--compute-capability", ""], "name that of the GPU"),
        (["--max-vocabulary", "0"], "--max-vocabulary: expected 1 to"),
    ],
)
def test_wrong_arguments_are_refused(
    wrong: list[str], said: str, tiny_bundle: Path, tmp_path: Path, capsys: Captured
) -> None:
    words = ["build-engine", "--bundle", str(tiny_bundle), "--backend", "tensorrt-rtx", "--compute-capability", "8.9"]
    assert cli.main([*words, "--cache", str(tmp_path), *wrong]) == 1
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


def test_a_graph_that_it_does_not_take_is_refused_by_name(library: Library) -> None:
    """Bytes are to be converted, nothing else; sim-nano's first graphs turned them about before."""
    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, 4, 8, 3])
    turned = onnx.helper.make_tensor_value_info("turned", onnx.TensorProto.UINT8, [1, 3, 4, 8])
    node = onnx.helper.make_node("Transpose", ["image"], ["turned"], perm=[0, 3, 1, 2])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", [image], [turned]), opset_imports=[onnx.helper.make_opsetid("", 17)]
    )
    bundle: Any = SimpleNamespace(hashes={}, read=lambda _file: model.SerializeToString())
    with pytest.raises(EngineError, match=r"^visual\.onnx: expected a graph that tensorrt-rtx .*UInt8.*anew$"):
        build_engine(library, bundle, "visual", BuildSettings(compute_capability="8.9"))


def test_entries_depend_on_the_bundles_content_and_the_settings(library: Library, tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    recipe = recipe_of(library, bundle, BuildSettings(compute_capability="8.9"))
    assert set(recipe["graphs"]) == {"visual.onnx", "head.onnx", "text.onnx"}
    assert recipe["version"] == library.version
    assert recipe["profiles"]["head"]["text_bank"][2][0] == profiles(bundle, 1024)["head"]["text_bank"][2][0] == 1024
    assert recipe != recipe_of(library, bundle, BuildSettings(compute_capability="8.9", max_vocabulary=99))
