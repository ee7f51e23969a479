# SPDX-License-Identifier: Apache-2.0
"""Which backend is chosen, and that one which computes something else is not."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_gpu
import numpy as np
import onnxruntime
import pytest
from fake_cuda import FakeRuntime

from vl_anomaly_ros.config import EngineConfig
from vl_anomaly_ros.engine import reference
from vl_anomaly_ros.engine.bundle import Bundle, load_bundle
from vl_anomaly_ros.engine.choice import ORDER, choose_engine, obstacle, prove, refusals
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import CUDA, OnnxRuntimeBackend
from vl_anomaly_ros.engine.progress import Step
from vl_anomaly_ros.engine.tensorrt.backend import TensorRtBackend
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
        assert choose_engine(bundle, config()).backend.name == "onnxruntime-cpu"
    words = {"tensorrt": "JetPack", "tensorrt-rtx": "pip install", "onnxruntime-cuda": "onnxruntime-gpu"}
    for name, word in words.items():
        assert any(f"{name} is not used" in line and word in line for line in caplog.messages), name
        assert word in obstacle(name)
    assert not obstacle("onnxruntime")
    found = dict(refusals(bundle, config(), lambda _step: None))
    assert list(found) == list(ORDER)
    assert [isinstance(why, EngineError) for why in found.values()] == [True, True, True, False]


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", [name for name in ORDER if name != "onnxruntime"])
def test_one_that_is_named_is_not_replaced(name: str, bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=f"^{name}: expected"):
        choose_engine(bundle, config(name))


def test_tensorrt_is_chosen_where_it_can_be_used(gpu: FakeRuntime, bundle: Bundle) -> None:
    backend = choose_engine(bundle, config()).backend
    assert backend.name == "tensorrt"
    backend.close()
    assert not gpu.held


def computes_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    execute = fake_gpu.FakeContext.execute_async_v3

    def wrong(self: Any, stream: int) -> bool:
        done = execute(self, stream)
        if "score" in self.engine.nodes:
            score = self._at("score", self.get_tensor_shape("score"))
            score[...] = np.clip(score - 0.5, 0, 1)  # a wrong "nothing there"
        return done

    monkeypatch.setattr(fake_gpu.FakeContext, "execute_async_v3", wrong)


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A line for each time that scores of the CPU are computed."""
    computed: list[str] = []
    monkeypatch.setattr(reference, "_score", counted(computed, "computed", reference._score))
    return computed


def start(bundle: Bundle, *backend: str) -> str:
    """The backend of an engine that is started and closed."""
    engine = choose_engine(bundle, config(*backend))
    engine.close()
    return engine.backend.name


def test_the_cpu_is_asked_once_and_the_gpu_at_each_start(
    gpu: FakeRuntime, bundle: Bundle, on_the_cpu: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [start(bundle) for _ in range(3)] == ["tensorrt"] * 3
    assert len(on_the_cpu) == 1
    computes_something_else(monkeypatch)
    for refused in (1, 2):
        with pytest.raises(EngineError, match="they differ by up to"):
            start(bundle, "tensorrt")
        assert len(on_the_cpu) == 1 + refused, "nothing is refused by kept scores alone"
    assert start(bundle) == "onnxruntime-cpu"
    assert not gpu.held


@pytest.mark.usefixtures("gpu")
def test_kept_scores_that_are_wrong_refuse_nothing(bundle: Bundle, on_the_cpu: list[str]) -> None:
    def wrong(of: Bundle, picture: Any, threads: int) -> Any:
        return right(of, picture, threads) + 0.5

    right = reference._score
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "_score", wrong)
        reference.reference_of(bundle, 1)
    assert reference.reference_of(bundle, 1).path is not None
    on_the_cpu.clear()
    assert [start(bundle, "tensorrt") for _ in range(2)] == ["tensorrt"] * 2
    assert len(on_the_cpu) == 1, "computed anew, and kept from then on"


@pytest.mark.usefixtures("gpu")
def test_bank_and_warm_up_are_made_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the GPU: the image of the warm-up, that of the proof, and no further one."""
    start(bundle)
    made: list[str] = []
    for owner, name in ((Engine, "__init__"), (TensorRtBackend, "__init__"), (TensorRtBackend, "visual")):
        monkeypatch.setattr(owner, name, counted(made, f"{owner.__name__}.{name}", getattr(owner, name)))
    start(bundle)
    assert made == ["TensorRtBackend.__init__", "Engine.__init__", "TensorRtBackend.visual", "TensorRtBackend.visual"]


def counted(made: list[str], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same, with a line for each call."""

    def noted(*arguments: Any, **more: Any) -> Any:
        made.append(name)
        return call(*arguments, **more)

    return noted


def test_each_step_of_a_start_is_reported(gpu: FakeRuntime, bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    del gpu
    proof = "comparing its scores with those of the CPU"
    phases = [("", "loading"), *((graph, "building") for graph in ("visual", "head", "text"))]
    phases += [("", "warming up"), ("", proof)]
    for expected in (phases, [phase for phase in phases if not phase[0]]):  # built, then found
        steps: list[Step] = []
        caplog.clear()
        with caplog.at_level(logging.INFO):
            choose_engine(bundle, config(), steps.append).close()
        assert [(step.graph, step.phase) for step in steps] == expected
        assert {step.backend for step in steps} == {"tensorrt"}
        assert [(step.done, step.total) for step in steps if step.graph] == [(1, 2)] * (len(expected) - 3)
        assert ("building the engine of head.onnx: building, step 1 of 2" in caplog.text) == (expected is phases)


@pytest.mark.usefixtures("bare")
def test_what_even_the_cpu_cannot_run_says_why(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise EngineError("out of memory")

    monkeypatch.setattr(OnnxRuntimeBackend, "visual", broken)
    with pytest.raises(EngineError, match=r"^out of memory$"):
        choose_engine(bundle, config())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_computes_something_else_is_not_used(
    precision: str, gpu: FakeRuntime, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    computes_something_else(monkeypatch)
    with caplog.at_level(logging.INFO):
        assert choose_engine(bundle, config(precision=precision)).backend.name == "onnxruntime-cpu"
    assert "expected the scores of the CPU" in caplog.text
    assert not gpu.held
    with pytest.raises(EngineError, match="they differ by up to"):
        choose_engine(bundle, config("tensorrt", precision=precision))


@pytest.mark.usefixtures("bare")
def test_a_cpu_is_proven_equal_to_itself(bundle: Bundle) -> None:
    engine = choose_engine(bundle, config("onnxruntime"))
    prove(engine, threads=1)
    engine.close()


def test_onnx_runtime_that_falls_back_without_a_word_is_noticed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    with pytest.raises(EngineError, match="expected ONNX Runtime to use CUDAExecutionProvider"):
        choose_engine(bundle, config("onnxruntime-cuda"))


@pytest.mark.usefixtures("bare")
def test_the_engine_takes_what_is_chosen(tiny_bundle: Path) -> None:
    engine = Engine.from_config(config(bundle=str(tiny_bundle)))
    assert engine.name == "onnxruntime-cpu/tiny"
    engine.close()
