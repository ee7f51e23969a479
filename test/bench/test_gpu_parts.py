# SPDX-License-Identifier: Apache-2.0
"""What the GPU's bench says of copies, on the stand-in for a GPU; what it says where there is no PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import fake_gpu
import numpy as np
import onnx
import pytest
from fake_cuda import FakeDriver, FakeRuntime
from tiny_bundle import D, picture

from bench.gpu_parts.copies import copies_of
from bench.gpu_parts.limits import Limits, Work, limits, reached, work_of
from bench.gpu_parts.pytorch import pytorch_rows
from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.engine.engine import Engine


def test_the_copies_of_a_frame_are_all_counted(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runtime = FakeRuntime()
    modules = {
        "cuda.bindings.runtime": runtime,
        "cuda.bindings.driver": FakeDriver(),
        "tensorrt": fake_gpu.fake_tensorrt(),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundle = load_bundle(tiny_bundle)
    backend = fake_gpu.make_backend(bundle)
    engine = Engine(bundle, backend)
    engine.run(picture())
    found = copies_of(lambda: engine.run(picture()), frame_ms=1.0)
    backend.close()
    cells = bundle.input_height * bundle.input_width // 16
    assert found["to_gpu_bytes"] == 3 * 16 * cells + 4 * (3 + 2 + 1 + 1 + 3)  # the picture, and the head's settings
    assert found["to_host_bytes"] == 4 * D * cells // 4 + 5 * 4 * cells + 5 * 4  # CLIP; score, sources, classes; NaN
    assert found["copies"] == 1 + 5 + 1 + 1 + 3
    assert found["copies_alone_ms"] >= 0
    assert not runtime.held


def test_work_is_counted_from_the_shapes_of_the_graph(tiny_bundle: Path) -> None:
    """By hand: convolutions, a transposed one, products; weights, the picture and the result."""
    float32, uint8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8
    weights = {"w": (8, 3, 3, 3), "depthwise": (8, 1, 5, 5), "up": (8, 4, 2, 2), "m": (16, 7), "g": (5, 7)}
    make = onnx.helper.make_node
    nodes = [
        make("Cast", ["image"], ["x"], to=float32),
        make("Conv", ["x", "w"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),  # 1 x 8 x 8 x 16
        make("Conv", ["a", "depthwise"], ["b"], group=8, pads=[2, 2, 2, 2]),
        make("ConvTranspose", ["b", "up"], ["c"], strides=[2, 2]),  # 1 x 4 x 16 x 32
        make("Flatten", ["c"], ["d"], axis=3),  # 64 x 32
        make("Split", ["d"], ["e", "rest"], axis=1, num_outputs=2),  # 64 x 16
        make("MatMul", ["e", "m"], ["f"]),  # 64 x 7
        make("Gemm", ["f", "g"], ["y"], transB=1),  # 64 x 5
    ]
    graph = onnx.helper.make_graph(
        nodes, "work",
        [onnx.helper.make_tensor_value_info("image", uint8, (1, 3, 16, 32))],
        [onnx.helper.make_tensor_value_info("y", float32, (64, 5))],
        [onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    bundle = SimpleNamespace(read=lambda _: model.SerializeToString(), hashes={"visual.onnx": ""})
    work = work_of(bundle)  # type: ignore[arg-type]
    conv, depthwise, up = 2 * 8 * 8 * 16 * 27, 2 * 8 * 8 * 16 * 25, 2 * 8 * 8 * 16 * 4 * 4
    assert work.operations == conv + depthwise + up + 2 * 64 * 7 * 16 + 2 * 64 * 5 * 7
    numbers = 8 * 27 + 8 * 25 + 8 * 16 + 16 * 7 + 35
    assert work.bytes_moved == 4 * (numbers + 3 * 16 * 32 + 64 * 5)
    assert work_of(load_bundle(tiny_bundle)).operations > 0


def test_shares_of_the_limits() -> None:
    row = reached(Work(2_000_000_000, 4_000_000), Limits({"fp16": 1e13}, 1e11), "fp16", 1e-3)
    assert row["tflop_per_s"] == 2.0
    assert (row["share_of_matrix_rate"], row["least_share_of_bandwidth"]) == (0.2, 0.04)
    without = limits()
    assert isinstance(without, str)
    assert "PyTorch" in reached(Work(1, 1), without, "fp32", 1.0)["no_limits"]


def test_without_cuda_pytorch_is_not_compared_and_it_says_why(tiny_bundle: Path) -> None:
    rows = pytorch_rows(load_bundle(tiny_bundle), np.zeros((32, 64, 3), np.uint8), frames=1)
    assert set(rows) == {"not_compared"}
    assert "PyTorch" in rows["not_compared"]
