# SPDX-License-Identifier: Apache-2.0
"""The TensorRT backend on a stand-in for GPU and library: which bytes go where, and what becomes of errors.

What a real GPU computes is tested in test/gpu.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import fake_gpu
import numpy as np
import pytest
from fake_cuda import Code, FakeDriver, FakeRuntime
from fake_gpu import make_backend
from tiny_bundle import picture

from vl_anomaly_ros.config import MethodConfig
from vl_anomaly_ros.engine.backend import VisualOutput
from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.engine.tensorrt.backend import TensorRtBackend
from vl_anomaly_ros.engine.terms import terms_of
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.text.vocabulary import KnownClass

UP, DOWN = 1, 2
GONE = "expected features of the image that is on the GPU, got those of an earlier one"


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
    settings = sum(value.nbytes for value in vars(scores.terms.head_settings()).values())
    assert copied(gpu, UP) == bundle.input_height * bundle.input_width * 3 + settings
    output = scores.sources.nbytes + scores.score.nbytes + scores.class_map.nbytes
    assert copied(gpu, DOWN) == scores.clip_features.nbytes + output + 4 * len(fields(VisualOutput))
    assert len(gpu.held) == held  # nothing is allocated for a frame


def copied(gpu: FakeRuntime, kind: int) -> int:
    return sum(size for each, size in gpu.copied if each == kind)


def test_the_other_features_come_when_they_are_read(backend: TensorRtBackend, bundle: Bundle, gpu: FakeRuntime) -> None:
    engine, reference = Engine(bundle, backend), Engine(bundle, OnnxRuntimeBackend(bundle, threads=1))
    features, wanted = (each.run(picture()).features for each in (engine, reference))
    assert set(features.at_hand()) == {"clip_features"}
    gpu.copied.clear()
    for name, value in vars(wanted).items():
        np.testing.assert_array_equal(getattr(features, name), value, err_msg=name)
        np.testing.assert_array_equal(getattr(features, name), value, err_msg=name)  # from the host now
    assert copied(gpu, DOWN) == sum(value.nbytes for value in vars(wanted).values()) - wanted.clip_features.nbytes
    assert set(features.at_hand()) == set(vars(wanted))
    with pytest.raises(AttributeError, match="no other"):
        _ = features.other  # type: ignore[attr-defined]


def test_features_of_an_earlier_image_are_brought_back_if_they_were_read(
    backend: TensorRtBackend, bundle: Bundle
) -> None:
    engine = Engine(bundle, backend)
    first = engine.run(picture())
    for name in (item.name for item in fields(VisualOutput)):
        getattr(first.features, name)
    second = engine.run(picture()[:, ::-1].copy())
    again = engine.again(first, first.terms)
    np.testing.assert_array_equal(again.score, first.score)
    with pytest.raises(EngineError, match=GONE):
        engine.again(second, second.terms)  # the first one lies in its place
    np.testing.assert_array_equal(engine.run(picture()).score, first.score)
    host = VisualOutput(**first.features.at_hand())
    other = replace(host, mask_logits=host.mask_logits[:1])
    with pytest.raises(EngineError, match="mask_logits: expected features of this engine"):
        backend.head(other, engine.lexicon.bank, first.terms.head_settings())


def test_features_of_an_earlier_image_that_were_not_read_are_gone(backend: TensorRtBackend, bundle: Bundle) -> None:
    engine = Engine(bundle, backend)
    first = engine.run(picture())
    second = engine.run(picture()[:, ::-1].copy())
    with pytest.raises(EngineError, match=GONE):
        _ = first.features.pixel_embeddings
    with pytest.raises(EngineError, match=GONE):
        engine.again(first, first.terms)
    np.testing.assert_array_equal(engine.again(second, second.terms).score, second.score)  # nothing was overwritten
    backend.close()
    with pytest.raises(EngineError, match="closed"):
        _ = second.features.pixel_embeddings


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [item.name for item in fields(VisualOutput)])
@pytest.mark.parametrize("on_gpu", [True, False])
def test_nan_never_passes_as_nothing_there(
    name: str, value: float, on_gpu: bool, gpu: FakeRuntime, driver: FakeDriver, bundle: Bundle
) -> None:
    """A head that swallows it, as a GPU's minimum and maximum do: whatever comes in, no anomaly comes out."""
    driver.fails = Code.cudaSuccess if on_gpu else Code.cudaErrorInvalidPtx
    backend = make_backend(bundle)
    engine = Engine(bundle, backend)
    visual, _, head = fake_gpu.ENGINES
    head.outputs = dict.fromkeys(("score", "sources"), np.zeros_like)
    assert engine.run(picture()).score.max() == 0

    def spoilt(good: np.ndarray) -> np.ndarray:
        good.reshape(-1)[-1] = value
        return good

    visual.outputs = {name: spoilt}
    with pytest.raises(EngineError, match=f"{name}: expected finite numbers"):
        engine.run(picture())
    visual.outputs = {}
    engine.run(picture())
    backend.close()
    assert not gpu.held


@pytest.mark.parametrize("blind", [lambda n: len(n) > 0, lambda n: len(n) == 0, lambda n: bool(np.isfinite(n[0]))])
@pytest.mark.usefixtures("gpu")
def test_a_search_for_nan_that_does_not_find_it_is_not_trusted(
    blind: Callable[[np.ndarray], bool], driver: FakeDriver, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    driver.counts = blind
    backend = make_backend(bundle)
    assert "NaN is looked for on the host" in caplog.text
    features = backend.visual(picture(bundle.input_width, bundle.input_height)[None])
    assert set(features.at_hand()) == {item.name for item in fields(VisualOutput)}
    backend.close()


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
        make_backend(bundle)
    assert not gpu.held
    assert not gpu.streams


def test_no_gpu(gpu: FakeRuntime, bundle: Bundle) -> None:
    gpu.devices = 0
    with pytest.raises(EngineError, match="cudaErrorNoDevice"):
        make_backend(bundle)


def test_after_closing_it_says_so(gpu: FakeRuntime, bundle: Bundle) -> None:
    backend = make_backend(bundle)
    backend.close()
    backend.close()
    with pytest.raises(EngineError, match="expected an open engine, got a closed one"):
        backend.visual(np.zeros((1, bundle.input_height, bundle.input_width, 3), np.uint8))
    assert not gpu.held


def test_the_second_start_finds_the_engines(gpu: FakeRuntime, bundle: Bundle, tmp_path: Path) -> None:
    make_backend(bundle).close()
    entries = {path.name for path in (tmp_path / "vl_anomaly_ros" / "engines").iterdir()}
    make_backend(bundle).close()
    assert {path.name for path in (tmp_path / "vl_anomaly_ros" / "engines").iterdir()} == entries
    assert not gpu.held
