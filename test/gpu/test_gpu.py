# SPDX-License-Identifier: Apache-2.0
"""On a real GPU: the shipped bundle says what it says on the CPU, and goes on doing so."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vl_anomaly_ros.config import EngineConfig
from vl_anomaly_ros.engine.backend import Backend
from vl_anomaly_ros.engine.bundle import default_bundle
from vl_anomaly_ros.engine.choice import MOST_DIFFERENCE, ORDER, choose_engine, obstacle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.engine.tensorrt.backend import TensorRtBackend
from vl_anomaly_ros.errors import EngineError

GPU_BACKENDS = [name for name in ORDER if name != "onnxruntime"]
CASES = [
    (name, precision)
    for name in GPU_BACKENDS
    for precision in ("fp32", "fp16")
    if "onnx" not in name or precision == "fp32"
]


@pytest.fixture(params=CASES, ids="-".join)
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    name, precision = request.param
    if missing := obstacle(name):
        pytest.skip(missing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp()))
        made = choose_engine(default_bundle(), EngineConfig(backend=name, precision=precision)).backend
    yield made
    made.close()


def picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (16, 32, 3), np.uint8)
    return np.ascontiguousarray(coarse.repeat(16, 0).repeat(16, 1))


def test_scores_are_those_of_the_cpu(backend: Backend) -> None:
    bundle = default_bundle()
    ours, reference = Engine(bundle, backend), Engine(bundle, OnnxRuntimeBackend(bundle))
    for seed in range(8):
        a, b = ours.run(picture(seed)), reference.run(picture(seed))
        assert np.abs(a.score - b.score).max() <= MOST_DIFFERENCE[backend.precision]
        assert (a.class_map == b.class_map).mean() > 0.98


@pytest.fixture
def tensorrt(backend: Backend) -> TensorRtBackend:
    if not isinstance(backend, TensorRtBackend):
        pytest.skip("of TensorRT alone")
    return backend


def test_only_what_is_needed_comes_back_and_the_rest_can_be_had(tensorrt: TensorRtBackend) -> None:
    """The kernel that looks for NaN runs on this GPU, or every feature would be at hand."""
    bundle = default_bundle()
    features = Engine(bundle, tensorrt).run(picture(1)).features
    assert set(features.at_hand()) == {"clip_features"}
    reference = Engine(bundle, OnnxRuntimeBackend(bundle)).run(picture(1)).features
    for name, wanted in vars(reference).items():
        gap = np.abs(getattr(features, name) - wanted).max() / np.abs(wanted).max()
        assert gap < {"fp32": 0.01, "fp16": 0.2}[tensorrt.precision], name


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_found_on_the_gpu(tensorrt: TensorRtBackend, value: float) -> None:
    engine, lane = Engine(default_bundle(), tensorrt), tensorrt.lanes[0]
    for name, buffer in lane.on_gpu.items():
        good = lane.visual_network.get(name)[name]
        good.reshape(-1)[good.size // 3] = value
        engine.run(picture(1))
        lane.visual_again(name, good)
        assert lane.finite is not None
        lane.finite.begin({name: buffer})
        lane.visual_network.get(name)  # waits
        with pytest.raises(EngineError, match=name):
            lane.finite.check()


def test_both_networks_run_as_cuda_graphs(tensorrt: TensorRtBackend) -> None:
    """Where a library cannot, this fails, and the log says why: slower, but no wrong result."""
    engine = Engine(default_bundle(), tensorrt)
    for seed in range(3):
        engine.run(picture(seed))
    assert tensorrt.replayed == ["visual", "head"]


def test_a_thousand_frames_say_the_same(backend: Backend) -> None:
    engine = Engine(default_bundle(), backend)
    first = engine.run(picture(1)).score
    for frame in range(1000):
        score = engine.run(picture(frame % 7)).score
        if frame % 7 == 1:
            np.testing.assert_allclose(score, first, atol=1e-3)


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_three_images_at_once_say_what_one_says(
    name: str, precision: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing := obstacle(name):
        pytest.skip(missing)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp()))
    bundle = default_bundle()
    engine = choose_engine(bundle, EngineConfig(backend=name, precision=precision, parallel=3))
    reference = Engine(bundle, OnnxRuntimeBackend(bundle))
    wanted = [reference.run(picture(seed)).score for seed in range(5)]
    with ThreadPoolExecutor(3) as threads:
        for number, scores in enumerate(threads.map(lambda n: engine.run(picture(n % 5)), range(300))):
            assert np.abs(scores.score - wanted[number % 5]).max() <= MOST_DIFFERENCE[precision]
    engine.close()
