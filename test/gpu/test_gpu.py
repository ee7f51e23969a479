# SPDX-License-Identifier: Apache-2.0
"""On a real GPU: the shipped bundle says what it says on the CPU, and goes on doing so."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from vl_anomaly_ros.config import EngineConfig
from vl_anomaly_ros.engine.backend import Backend
from vl_anomaly_ros.engine.bundle import default_bundle
from vl_anomaly_ros.engine.choice import MOST_DIFFERENCE, ORDER, choose_backend, obstacle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend

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
        made = choose_backend(default_bundle(), EngineConfig(backend=name, precision=precision))
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


def test_a_thousand_frames_say_the_same(backend: Backend) -> None:
    engine = Engine(default_bundle(), backend)
    first = engine.run(picture(1)).score
    for frame in range(1000):
        score = engine.run(picture(frame % 7)).score
        if frame % 7 == 1:
            np.testing.assert_allclose(score, first, atol=1e-3)
