# SPDX-License-Identifier: Apache-2.0
"""What the GPU's bench says of copies, on the stand-in for a GPU; what it says where there is no PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path

import fake_gpu
import numpy as np
import pytest
from fake_cuda import FakeDriver, FakeRuntime
from tiny_bundle import D, picture

from bench.gpu_parts.copies import copies_of
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


def test_without_cuda_pytorch_is_not_compared_and_it_says_why(tiny_bundle: Path) -> None:
    rows = pytorch_rows(load_bundle(tiny_bundle), np.zeros((32, 64, 3), np.uint8), frames=1)
    assert set(rows) == {"not_compared"}
    assert "PyTorch" in rows["not_compared"]
