# SPDX-License-Identifier: Apache-2.0
"""A graph with other inputs or outputs is refused, and the sentence says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from vl_anomaly_ros.engine.bundle import Bundle, load_bundle
from vl_anomaly_ros.engine.contract import CONTRACT, Dimension, check_graph
from vl_anomaly_ros.errors import BundleError

SIZES = {"H": 32, "W": 64, "h": 8, "w": 16, "K": 3, "K+1": 4, "D": 8, "L": 12, "Q": 5}
Declared = dict[str, tuple[str, tuple[Dimension, ...]]]


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


def declared(file: str) -> tuple[Declared, Declared]:
    """Inputs and outputs of a right graph."""

    def sized(ports: object) -> Declared:
        assert isinstance(ports, dict)
        return {n: (t, tuple(SIZES.get(d, d) if isinstance(d, str) else d for d in s)) for n, (t, s) in ports.items()}

    return sized(CONTRACT[file][0]), sized(CONTRACT[file][1])


@pytest.mark.parametrize("file", list(CONTRACT))
def test_right_graphs_pass(bundle: Bundle, file: str) -> None:
    check_graph(file, *declared(file), bundle)


@pytest.mark.parametrize(
    ("file", "kind", "name", "port", "said"),
    [
        ("visual.onnx", 0, "image", ("float32", (1, 32, 64, 3)), "input image: expected uint8"),
        ("visual.onnx", 0, "image", ("uint8", (1, 64, 32, 3)), "expected H = 32 as in bundle.yaml, got 64"),
        ("visual.onnx", 0, "image", ("uint8", (1, 3, 32, 64)), "input image: expected H = 32"),
        ("visual.onnx", 1, "class_logits", ("float32", (5, 3)), "output class_logits: expected K+1 = 4"),
        ("visual.onnx", 1, "pixel_embeddings", ("float32", (16, 8, 16)), "expected D = 8"),
        ("visual.onnx", 1, "mask_logits", ("float32", (5, 4, 16)), "expected h = 8"),
        ("visual.onnx", 1, "mask_logits", ("float32", (1, 5, 8, 16)), "expected float32 [Q, h, w]"),
        ("text.onnx", 0, "tokens", ("int64", ("N", 77)), "expected L = 12"),
        ("text.onnx", 0, "tokens", ("int64", (1, 12)), "expected N to be open"),
        ("head.onnx", 0, "text_bank", ("float32", (3, "R", 8)), "expected C to be open, got 3"),
        ("head.onnx", 0, "source_weights", ("float32", (2,)), "expected 3"),
        ("head.onnx", 1, "class_map", ("int64", (8, 16)), "output class_map: expected int32"),
    ],
)
def test_wrong_graphs_are_refused(
    bundle: Bundle, file: str, kind: int, name: str, port: tuple[str, tuple[Dimension, ...]], said: str
) -> None:
    ports = declared(file)
    ports[kind][name] = port
    with pytest.raises(BundleError, match=file) as caught:
        check_graph(file, *ports, bundle)
    assert said in str(caught.value)


def test_missing_and_extra_ports_are_refused(bundle: Bundle) -> None:
    inputs, outputs = declared("head.onnx")
    with pytest.raises(BundleError, match="expected the output sources"):
        check_graph("head.onnx", inputs, {n: p for n, p in outputs.items() if n != "sources"}, bundle)
    with pytest.raises(BundleError, match="got also bias"):
        check_graph("head.onnx", {**inputs, "bias": ("float32", (1,))}, outputs, bundle)


def test_open_dimensions_are_left_to_the_warm_up(bundle: Bundle) -> None:
    inputs, outputs = declared("visual.onnx")
    outputs["mask_logits"] = ("float32", ("queries", None, "width"))
    check_graph("visual.onnx", inputs, outputs, bundle)
