# SPDX-License-Identifier: Apache-2.0
"""Graphs whose weights lie in a second file of the bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.engine.graph_file import check_graph_file
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.errors import BundleError
from vl_anomaly_ros.evaluation.seal import seal

DATA = "visual.onnx.data"


@pytest.fixture
def divided(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle with the weights of its visual graph in a second file."""
    folder = shutil.copytree(tiny_bundle, tmp_path / "divided")
    model = onnx.load(folder / "visual.onnx")
    onnx.save(model, folder / "visual.onnx", save_as_external_data=True, location=DATA, size_threshold=64)
    seal(folder)
    return folder


def graph(*entries: tuple[str, str]) -> bytes:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries:
        tensor.external_data.add(key=key, value=value)
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])]
    return bytes(helper.make_model(helper.make_graph([], "g", ports, ports, [tensor])).SerializeToString())


def test_a_divided_graph_gives_what_the_whole_one_gives(divided: Path, tiny_bundle: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3), dtype=np.uint8)
    assert DATA in load_bundle(divided).hashes
    have, want = (OnnxRuntimeBackend(load_bundle(folder), threads=1).visual(image) for folder in (divided, tiny_bundle))
    for name, value in vars(want).items():
        np.testing.assert_array_equal(getattr(have, name), value, err_msg=name)


def test_altered_weights_are_refused(divided: Path) -> None:
    content = bytearray((divided / DATA).read_bytes())
    content[0] ^= 1
    bundle = load_bundle(divided)
    (divided / DATA).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{DATA}: expected SHA-256"):
        load_bundle(divided)
    with pytest.raises(BundleError, match=rf"{DATA}: expected SHA-256"):
        OnnxRuntimeBackend(bundle)


def test_weights_that_bundle_yaml_does_not_list_are_refused(divided: Path) -> None:
    path = divided / "bundle.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    del values["files"][DATA]
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(BundleError, match=rf"{DATA} as bundle.yaml lists it"):
        load_bundle(divided)


def test_absent_weights_are_refused(divided: Path) -> None:
    (divided / DATA).unlink()
    with pytest.raises(BundleError, match=DATA):
        load_bundle(divided)


def test_a_link_out_of_the_bundle_is_refused(divided: Path, tmp_path: Path) -> None:
    (divided / DATA).rename(tmp_path / "elsewhere")
    (divided / DATA).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="leads out of it"):
        load_bundle(divided)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ((("location", "g.onnx.data"), ("offset", "0"), ("length", "17")), "beyond its end"),
        ((("location", "g.onnx.data"), ("offset", "8"), ("length", "16")), "beyond its end"),
        ((("location", "g.onnx.data"), ("offset", "-1"), ("length", "16")), "offset and length"),
        ((("location", "g.onnx.data"), ("offset", "0")), "offset and length"),
        ((("location", "g.onnx.data"), ("offset", "0"), ("length", "9" * 5000)), "offset and length"),
        ((("location", "../g.onnx.data"), ("offset", "0"), ("length", "16")), "in another file"),
        ((("location", "/etc/passwd"), ("offset", "0"), ("length", "16")), "in another file"),
        ((("location", "/etc/passwd"), ("location", "g.onnx.data"), ("offset", "0"), ("length", "16")), "got two"),
        ((("location", "g.onnx.data"), ("location", "/etc/passwd"), ("offset", "0"), ("length", "16")), "got two"),
    ],
)
def test_weights_may_lie_nowhere_but_inside_that_file(entries: tuple[tuple[str, str], ...], said: str) -> None:
    with pytest.raises(BundleError, match=said):
        check_graph_file("g.onnx", graph(*entries), data_bytes=16)


def test_weights_up_to_the_last_byte_pass() -> None:
    check_graph_file("g.onnx", graph(("location", "g.onnx.data"), ("offset", "0"), ("length", "16")), data_bytes=16)
