# SPDX-License-Identifier: Apache-2.0
"""Which backend is chosen, and that one which computes something else is not."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import fake_gpu
import numpy as np
import onnxruntime
import pytest
from fake_gpu import FakeRuntime

from vl_anomaly_ros.config import EngineConfig
from vl_anomaly_ros.engine.bundle import Bundle, load_bundle
from vl_anomaly_ros.engine.choice import ORDER, choose_backend, obstacle, prove, refusals
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import CUDA
from vl_anomaly_ros.errors import EngineError


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without either library."""
    for name in ("tensorrt", "tensorrt_rtx", "cuda.bindings.runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def gpu(bare: None, monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    """The same with a GPU and TensorRT, or what stands in for them."""
    del bare
    runtime = FakeRuntime()
    for name, module in (
        ("cuda", type(sys)("cuda")),
        ("cuda.bindings", type(sys)("cuda.bindings")),
        ("cuda.bindings.runtime", runtime),
        ("tensorrt", fake_gpu.fake_tensorrt()),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    return runtime


def config(backend: str = "auto", **values: Any) -> EngineConfig:
    return EngineConfig(backend=backend, threads=1, **values)


@pytest.mark.usefixtures("bare")
def test_the_order_and_why_each_is_not_used(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    assert ORDER == ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "onnxruntime")
    with caplog.at_level(logging.INFO):
        assert choose_backend(bundle, config()).name == "onnxruntime-cpu"
    words = {"tensorrt": "JetPack", "tensorrt-rtx": "pip install", "onnxruntime-cuda": "onnxruntime-gpu"}
    for name, word in words.items():
        assert any(f"{name} is not used" in line and word in line for line in caplog.messages), name
        assert word in obstacle(name)
    assert not obstacle("onnxruntime")
    found = dict(refusals(bundle, config()))
    assert list(found) == list(ORDER)
    assert [isinstance(why, EngineError) for why in found.values()] == [True, True, True, False]


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", [name for name in ORDER if name != "onnxruntime"])
def test_one_that_is_named_is_not_replaced(name: str, bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=f"^{name}: expected"):
        choose_backend(bundle, config(name))


def test_tensorrt_is_chosen_where_it_can_be_used(gpu: FakeRuntime, bundle: Bundle) -> None:
    backend = choose_backend(bundle, config())
    assert backend.name == "tensorrt"
    backend.close()
    assert not gpu.held


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_computes_something_else_is_not_used(
    precision: str, gpu: FakeRuntime, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    execute = fake_gpu.FakeEngine._execute

    def wrong(self: Any, stream: int) -> bool:
        done = execute(self, stream)
        if "score" in self.nodes:
            score = self._at("score", self.get_tensor_shape("score"))
            score[...] = np.clip(score - 0.5, 0, 1)  # a wrong "nothing there"
        return done

    monkeypatch.setattr(fake_gpu.FakeEngine, "_execute", wrong)
    with caplog.at_level(logging.INFO):
        assert choose_backend(bundle, config(precision=precision)).name == "onnxruntime-cpu"
    assert "expected the scores of the CPU" in caplog.text
    assert not gpu.held
    with pytest.raises(EngineError, match="they differ by up to"):
        choose_backend(bundle, config("tensorrt", precision=precision))


@pytest.mark.usefixtures("bare")
def test_a_cpu_is_proven_equal_to_itself(bundle: Bundle) -> None:
    backend = choose_backend(bundle, config("onnxruntime"))
    prove(backend, bundle, threads=1)
    backend.close()


def test_onnx_runtime_that_falls_back_without_a_word_is_noticed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    with pytest.raises(EngineError, match="expected ONNX Runtime to use CUDAExecutionProvider"):
        choose_backend(bundle, config("onnxruntime-cuda"))


@pytest.mark.usefixtures("bare")
def test_the_engine_takes_what_is_chosen(tiny_bundle: Path) -> None:
    engine = Engine.from_config(config(bundle=str(tiny_bundle)))
    assert engine.name == "onnxruntime-cpu/tiny"
    engine.close()
