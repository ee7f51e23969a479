# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs on the stand-in: recorded at the second run of the same shapes, launched from then on, never trusted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import fake_gpu
import numpy as np
import pytest
from fake_cuda import Code, FakeRuntime
from tiny_bundle import picture

from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.engine.tensorrt.backend import TensorRtBackend
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.text.vocabulary import KnownClass

OTHER = picture()[:, ::-1].copy()


@pytest.fixture
def engine(backend: TensorRtBackend, bundle: Bundle) -> Engine:
    """After its first frame."""
    return Engine(bundle, backend)


@pytest.fixture
def reference(bundle: Bundle) -> Engine:
    return Engine(bundle, OnnxRuntimeBackend(bundle, threads=1))


def same(engine: Engine, reference: Engine) -> bool:
    """Whether both say the same of two pictures."""
    pairs = [[each.run(image) for each in (engine, reference)] for image in (picture(), OTHER)]
    names = ("score", "sources", "class_map", "clip_features")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for a, b in pairs for name in names)


def test_the_third_frame_launches_both_graphs(engine: Engine, reference: Engine, gpu: FakeRuntime) -> None:
    assert not gpu.graphs
    engine.run(picture())  # the second, which records them and launches each once to see what it does
    assert (len(gpu.graphs), len(gpu.launched)) == (2, 2)
    assert same(engine, reference)
    assert len(gpu.launched) == 2 + 2 * 2
    assert gpu.recorded == 0  # what was recorded is given back once it can be launched


def test_another_shape_throws_the_heads_graph_away(engine: Engine, reference: Engine, gpu: FakeRuntime) -> None:
    engine.run(picture())
    visual, _ = gpu.graphs
    vocabulary = engine.lexicon.vocabulary
    for each in (engine, reference):
        each.set_vocabulary(replace(vocabulary, known=(*vocabulary.known, KnownClass("red thing", synonyms=("dog",)))))
    gpu.launched.clear()
    assert np.array_equal(engine.run(picture()).score, reference.run(picture()).score)
    assert list(gpu.graphs) == gpu.launched == [visual]
    assert same(engine, reference)
    assert len(gpu.graphs) == 2


def test_a_word_segmented_in_between_changes_nothing(engine: Engine, reference: Engine) -> None:
    """It is a larger bank for one run, and the smaller one comes back."""
    for image in (picture(), OTHER, picture()):
        ours, theirs = engine.run(image), reference.run(image)
        words = engine.lexicon.bank.candidates[[1, 0]]
        np.testing.assert_array_equal(engine.segment(ours, words), reference.segment(theirs, words))
        np.testing.assert_array_equal(ours.score, theirs.score)


@pytest.mark.parametrize(
    "call", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphLaunch"]
)
def test_what_cannot_be_recorded_is_run_as_ever(
    call: str, engine: Engine, reference: Engine, gpu: FakeRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.fails[call] = Code.cudaErrorStreamCaptureInvalidated
    with caplog.at_level(logging.INFO):
        assert same(engine, reference)
        assert same(engine, reference)
    assert caplog.text.count("runs without a CUDA graph") == 2  # once for each network
    assert call in caplog.text
    assert (gpu.graphs, gpu.recorded) == ({}, 0)


@pytest.mark.parametrize("trouble", ["refuses_recording", "records_nothing", "other"])
def test_a_graph_that_does_something_else_is_not_used(
    trouble: str, engine: Engine, reference: Engine, gpu: FakeRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty graph would leave the outputs of an earlier image for ever."""
    for each in fake_gpu.ENGINES[::2]:  # visual and head, text between them
        setattr(each, trouble, True)
        if trouble == "other":
            each.outputs = {name: _other_when_recorded(gpu) for name in ("clip_features", "score")}
    with caplog.at_level(logging.INFO):
        assert same(engine, reference)
        assert same(engine, reference)
    assert "visual: runs without a CUDA graph" in caplog.text
    assert "head: runs without a CUDA graph" in caplog.text
    assert (gpu.graphs, gpu.recorded) == ({}, 0)


def _other_when_recorded(gpu: FakeRuntime) -> Callable[[Any], Any]:
    return lambda value: value + np.float32(0.001) * bool(gpu.graphs)


def test_a_library_that_cannot_record_is_not_made_to(
    engine: Engine, reference: Engine, backend: TensorRtBackend, gpu: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = backend.lanes[0].visual_network._context
    monkeypatch.setattr(context, "is_stream_capturable", lambda stream: stream not in gpu.streams, raising=False)
    assert same(engine, reference)
    assert backend.replayed == ["head"]


def test_an_error_while_it_is_launched_is_an_engine_error(engine: Engine, gpu: FakeRuntime) -> None:
    engine.run(picture())
    gpu.fails["cudaGraphLaunch"] = Code.cudaErrorIllegalAddress
    with pytest.raises(EngineError, match=r"CUDA: cudaGraphLaunch: expected success, got cudaErrorIllegalAddress"):
        engine.run(picture())
