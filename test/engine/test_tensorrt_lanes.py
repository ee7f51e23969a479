# SPDX-License-Identifier: Apache-2.0
"""Several images at once on the stand-in: each thread has a lane of its own, and none sees another's image."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fake_gpu
import numpy as np
import pytest
from fake_cuda import FakeDriver, FakeRuntime
from tiny_bundle import picture

from vl_anomaly_ros.config import EngineConfig
from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.choice import choose_engine
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.engine.tensorrt.backend import TensorRtBackend
from vl_anomaly_ros.errors import EngineError

LANES = 3
PATIENCE_S = 20.0


@pytest.fixture
def backend(gpu: FakeRuntime, driver: FakeDriver, bundle: Bundle) -> Iterator[TensorRtBackend]:
    made = fake_gpu.make_backend(bundle, LANES)
    yield made
    made.close()
    assert not gpu.held
    assert (gpu.streams, gpu.recorded, gpu.graphs, driver.modules) == (set(), 0, {}, 0)


def pictures() -> list[np.ndarray]:
    return [np.ascontiguousarray(np.roll(picture(), 5 * shift, axis=1)) for shift in range(LANES)]


def test_images_are_in_work_at_the_same_time(backend: TensorRtBackend, bundle: Bundle, gpu: FakeRuntime) -> None:
    """The image engine goes on only when all threads are in it."""
    engine = Engine(bundle, backend)
    assert len(gpu.streams) == LANES + 1  # and one for texts
    together, met_by = threading.Barrier(LANES, timeout=PATIENCE_S), set()

    def met(value: Any) -> Any:
        if (thread := threading.get_ident()) not in met_by:  # one that records a graph runs once more
            met_by.add(thread)
            together.wait()
        return value

    fake_gpu.ENGINES[0].outputs = {"class_logits": met}
    with ThreadPoolExecutor(LANES) as threads:
        scores = list(threads.map(engine.run, pictures()))
    reference = Engine(bundle, OnnxRuntimeBackend(bundle, threads=1))
    for ours, image in zip(scores, pictures()):
        np.testing.assert_array_equal(ours.score, reference.run(image).score)


def test_a_thousand_images_of_three_threads_are_never_mixed_up(
    backend: TensorRtBackend, bundle: Bundle, gpu: FakeRuntime
) -> None:
    engine, reference = Engine(bundle, backend), Engine(bundle, OnnxRuntimeBackend(bundle, threads=1))
    images = pictures()
    wanted = [reference.run(image) for image in images]
    words = engine.lexicon.bank.candidates[:2]
    fine = [reference.segment(scores, words) for scores in wanted]
    held = len(gpu.held)

    def work(first: int) -> None:
        for frame in range(333):
            which = (first + frame) % LANES
            ours, theirs = engine.run(images[which]), wanted[which]
            for name in ("score", "sources", "class_map", "clip_features"):
                np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
            if frame % 10 == 0:
                np.testing.assert_array_equal(ours.features.mask_logits, theirs.features.mask_logits)
                np.testing.assert_array_equal(engine.again(ours, ours.terms).score, theirs.score)
                np.testing.assert_array_equal(engine.segment(ours, words), fine[which])

    with ThreadPoolExecutor(LANES) as threads:
        list(threads.map(work, range(LANES)))
    assert backend.replayed == ["visual", "head"]
    assert len(gpu.held) == held  # nothing was allocated for a frame


def test_a_thread_keeps_its_lane_and_a_dead_one_leaves_it_free(backend: TensorRtBackend) -> None:
    lanes = []
    go_on = threading.Event()
    chosen = threading.Semaphore(0)

    def work() -> None:
        lanes.append(backend._lane())
        assert backend._lane() is lanes[-1] or len(lanes) > 1
        chosen.release()
        go_on.wait(PATIENCE_S)

    def start() -> threading.Thread:
        thread = threading.Thread(target=work)
        thread.start()
        assert chosen.acquire(timeout=PATIENCE_S)
        return thread

    living = [start() for _ in range(LANES)]
    assert len(set(lanes)) == LANES
    go_on.set()
    for thread in living:
        thread.join()
    go_on.clear()
    lanes.clear()
    living += [start() for _ in range(LANES)]  # the dead are still known to somebody
    assert len(set(lanes)) == LANES
    go_on.set()


def test_features_go_to_the_lane_that_holds_them(backend: TensorRtBackend, bundle: Bundle) -> None:
    """Whichever thread asks."""
    engine, reference = Engine(bundle, backend), Engine(bundle, OnnxRuntimeBackend(bundle, threads=1))
    scores, wanted = engine.run(picture()), reference.run(picture())
    with ThreadPoolExecutor(1) as other:
        other.submit(engine.run, pictures()[1]).result()
        again = other.submit(engine.again, scores, scores.terms).result()
    np.testing.assert_array_equal(again.score, wanted.score)


def test_where_memory_does_not_suffice_for_all_it_says_for_how_many(
    gpu: FakeRuntime, driver: FakeDriver, bundle: Bundle
) -> None:
    """Threads that share a lane would overwrite each other's image."""
    before = gpu.memory
    backend = fake_gpu.make_backend(bundle)
    one = before - gpu.memory
    backend.close()
    assert gpu.memory == before
    gpu.memory = one + 1000
    with pytest.raises(EngineError, match=r"engine.parallel: .* for 3 images at once, .* for 1: CUDA: cudaM"):
        fake_gpu.make_backend(bundle, LANES)
    assert not gpu.held
    assert (gpu.streams, driver.modules) == (set(), 0)
    fake_gpu.make_backend(bundle).close()


def test_closing_waits_for_the_image_in_work(backend: TensorRtBackend, bundle: Bundle, gpu: FakeRuntime) -> None:
    """Memory that a GPU still writes into must not be given back."""
    engine = Engine(bundle, backend)
    inside, go_on = threading.Event(), threading.Event()

    def slow(value: Any) -> Any:
        inside.set()
        assert go_on.wait(PATIENCE_S)
        return value

    fake_gpu.ENGINES[0].outputs = {"class_logits": slow}
    with ThreadPoolExecutor(2) as threads:
        run = threads.submit(backend.visual, picture(bundle.input_width, bundle.input_height)[None])
        assert inside.wait(PATIENCE_S)
        closing = threads.submit(backend.close)
        assert not closing.done()
        assert len(gpu.streams) >= 1
        go_on.set()
        assert set(run.result().at_hand()) == {"clip_features"}
        closing.result()
    with pytest.raises(EngineError, match="closed"):
        engine.run(picture())


def test_every_lane_is_compared_with_the_cpu(
    gpu: FakeRuntime, driver: FakeDriver, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that says "nothing there" on one of them is not used."""
    engine = choose_engine(bundle, EngineConfig(backend="tensorrt", parallel=LANES, threads=1))
    assert len(engine.backend.lanes) == LANES  # type: ignore[attr-defined]
    assert engine.backend.replayed == ["visual", "head"]  # type: ignore[attr-defined]
    engine.close()
    heads = []
    made = fake_gpu.FakeTrtRuntime.deserialize_cuda_engine

    def second_is_wrong(self: fake_gpu.FakeTrtRuntime, plan: bytes) -> Any:
        found = made(self, plan)
        if found is not None and "score" in found.nodes:
            heads.append(found)
            if len(heads) == 2:
                found.outputs = {"score": lambda score: np.clip(score - np.float32(0.5), 0, 1)}
        return found

    monkeypatch.setattr(fake_gpu.FakeTrtRuntime, "deserialize_cuda_engine", second_is_wrong)
    with pytest.raises(EngineError, match="expected the scores of the CPU"):
        choose_engine(bundle, EngineConfig(backend="tensorrt", parallel=LANES, threads=1))
    assert len(heads) == LANES
    assert not gpu.held
    assert driver.modules == 0
