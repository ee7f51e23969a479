# SPDX-License-Identifier: Apache-2.0
"""The TensorRT backend on a stand-in for GPU and library: which bytes go where, and what becomes of errors.

What a real GPU computes is tested in test/gpu.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fake_gpu
import numpy as np
import pytest
from fake_gpu import Code, FakeRuntime
from tiny_bundle import picture

from vl_anomaly_ros.config import MethodConfig
from vl_anomaly_ros.engine.backend import VisualOutput
from vl_anomaly_ros.engine.bundle import Bundle, load_bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.engine.tensorrt.backend import TensorRtBackend
from vl_anomaly_ros.engine.tensorrt.build import BuildSettings
from vl_anomaly_ros.engine.tensorrt.library import load_library
from vl_anomaly_ros.engine.terms import terms_of
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.text.vocabulary import KnownClass

UP, DOWN = 1, 2


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRuntime:
    runtime = FakeRuntime()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)
    monkeypatch.setitem(sys.modules, "cuda.bindings", type(sys)("cuda.bindings"))
    monkeypatch.setitem(sys.modules, "cuda", type(sys)("cuda"))
    monkeypatch.setitem(sys.modules, "tensorrt", fake_gpu.fake_tensorrt())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fake_gpu.ENGINES.clear()
    return runtime


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture
def backend(gpu: FakeRuntime, bundle: Bundle) -> Iterator[TensorRtBackend]:
    made = make(bundle)
    yield made
    made.close()
    assert not gpu.held
    assert gpu.streams == 0


def make(bundle: Bundle) -> TensorRtBackend:
    return TensorRtBackend(bundle, load_library("tensorrt"), BuildSettings(max_vocabulary=64))


def test_it_says_what_onnx_runtime_says(backend: TensorRtBackend, bundle: Bundle) -> None:
    engines = Engine(bundle, backend), Engine(bundle, OnnxRuntimeBackend(bundle, threads=1))
    assert (backend.name, backend.precision) == ("tensorrt", "fp32")
    assert backend.device == "Fake GPU (compute capability 8.9)"
    for method in ("vl_anomaly", "vl4ad"):
        terms = terms_of(MethodConfig(name=method), bundle.calibration)
        ours, theirs = (engine.run(picture(), terms) for engine in engines)
        for name in ("score", "sources", "class_map", "clip_features"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


def test_features_stay_on_the_gpu_and_a_bank_goes_there_once(
    backend: TensorRtBackend, bundle: Bundle, gpu: FakeRuntime
) -> None:
    engine = Engine(bundle, backend)
    engine.run(picture())
    held = len(gpu.held)
    gpu.copied.clear()
    scores = engine.run(picture())
    up = sum(size for kind, size in gpu.copied if kind == UP)
    settings = sum(value.nbytes for value in vars(scores.terms.head_settings()).values())
    assert up == bundle.input_height * bundle.input_width * 3 + settings
    assert len(gpu.held) == held  # nothing is allocated for a frame


def test_features_of_an_earlier_image_are_brought_back(backend: TensorRtBackend, bundle: Bundle) -> None:
    engine = Engine(bundle, backend)
    first = engine.run(picture())
    engine.run(picture()[:, ::-1].copy())
    again = engine.again(first, first.terms)
    np.testing.assert_array_equal(again.score, first.score)
    other = replace(first.features, mask_logits=first.features.mask_logits[:1])
    with pytest.raises(EngineError, match="mask_logits: expected features of this engine"):
        backend.head(VisualOutput(**vars(other)), engine.lexicon.bank, first.terms.head_settings())


def test_a_larger_vocabulary_counts_at_once_and_one_too_large_is_refused(
    backend: TensorRtBackend, bundle: Bundle
) -> None:
    engine, reference = Engine(bundle, backend), Engine(bundle, OnnxRuntimeBackend(bundle, threads=1))
    more = replace(bundle.vocabulary, known=(*bundle.vocabulary.known, KnownClass("red thing", synonyms=("dog",))))
    for each in (engine, reference):
        each.set_vocabulary(more)
    np.testing.assert_array_equal(engine.run(picture()).score, reference.run(picture()).score)
    many = tuple(KnownClass(f"thing {number}") for number in range(70))
    with pytest.raises(EngineError, match=r"text_bank: expected float32 of at most .*--max-vocabulary"):
        engine.set_vocabulary(replace(bundle.vocabulary, known=many))
    np.testing.assert_array_equal(engine.run(picture()).score, reference.run(picture()).score)


@pytest.mark.parametrize("call", ["cudaMemcpyAsync", "cudaStreamSynchronize"])
def test_an_error_of_the_device_is_an_engine_error(
    call: str, backend: TensorRtBackend, bundle: Bundle, gpu: FakeRuntime
) -> None:
    engine = Engine(bundle, backend)
    gpu.fails[call] = Code.cudaErrorIllegalAddress
    with pytest.raises(EngineError, match=rf"CUDA: {call}: expected success, got cudaErrorIllegalAddress \(700\)"):
        engine.run(picture())
    gpu.fails.clear()
    engine.run(picture())


def test_a_refused_run_is_an_engine_error(backend: TensorRtBackend, bundle: Bundle) -> None:
    engine = Engine(bundle, backend)
    fake_gpu.ENGINES[0].refuses = True
    with pytest.raises(EngineError, match="visual: expected the engine to run"):
        engine.run(picture())


def test_too_little_memory_gives_everything_back(gpu: FakeRuntime, bundle: Bundle) -> None:
    gpu.memory = 100_000
    with pytest.raises(EngineError, match="cudaErrorMemoryAllocation"):
        make(bundle)
    assert not gpu.held
    assert gpu.streams == 0


def test_no_gpu(gpu: FakeRuntime, bundle: Bundle) -> None:
    gpu.devices = 0
    with pytest.raises(EngineError, match="cudaErrorNoDevice"):
        make(bundle)


def test_after_closing_it_says_so(gpu: FakeRuntime, bundle: Bundle) -> None:
    backend = make(bundle)
    backend.close()
    backend.close()
    with pytest.raises(EngineError, match="expected an open engine, got a closed one"):
        backend.visual(np.zeros((1, bundle.input_height, bundle.input_width, 3), np.uint8))
    assert not gpu.held


def test_the_second_start_finds_the_engines(gpu: FakeRuntime, bundle: Bundle, tmp_path: Path) -> None:
    make(bundle).close()
    entries = {path.name for path in (tmp_path / "vl_anomaly_ros" / "engines").iterdir()}
    make(bundle).close()
    assert {path.name for path in (tmp_path / "vl_anomaly_ros" / "engines").iterdir()} == entries
    assert not gpu.held
