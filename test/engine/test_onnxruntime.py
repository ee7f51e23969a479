# SPDX-License-Identifier: Apache-2.0
"""The ONNX Runtime backend: the graphs' own formulas, determinism, failures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from reference_head import reference_head
from tiny_bundle import build_tiny_bundle, picture, rehash

from vl_anomaly_ros.engine.backend import HeadSettings, VisualOutput
from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend, open_session
from vl_anomaly_ros.errors import BundleError, EngineError
from vl_anomaly_ros.text.bank import TextBank
from vl_anomaly_ros.types import ByteArray


@pytest.fixture(scope="module")
def backend(tiny_bundle: Path) -> OnnxRuntimeBackend:
    return OnnxRuntimeBackend(load_bundle(tiny_bundle), threads=1)


@pytest.fixture(scope="module")
def bank(tiny_bundle: Path, backend: OnnxRuntimeBackend) -> TextBank:
    return Engine(load_bundle(tiny_bundle), backend).lexicon.bank


def settings(
    weights: tuple[float, float, float] = (0.5, 0.25, 0.25),
    dense: float = 0.5,
    pixels: float = 0.5,
    ensemble: float = 0.0,
) -> HeadSettings:
    given = (weights, [0.1, 0.2], [pixels], [dense], [ensemble, 0.3, 0.9])
    return HeadSettings(*(np.array(values, np.float32) for values in given))


def random_features(seed: int) -> VisualOutput:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return rng.normal(size=shape).astype(np.float32)

    queries, pixels = normal(4, 8), normal(8, 8, 16)
    return VisualOutput(
        mask_logits=3 * normal(4, 8, 16),
        class_logits=2 * normal(4, 4),
        mask_embeddings=queries / np.linalg.norm(queries, axis=1, keepdims=True),
        pixel_embeddings=pixels / np.linalg.norm(pixels, axis=0),
        clip_features=5 * normal(8, 4, 8),
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "values",
    [
        ((0.5, 0.25, 0.25), 0.5, 0.5, 0.0),
        ((0, 1, 0), 0, 1.0, 0.0),
        ((1, 0, 3), 1, 0.0, 0.0),
        ((1, 1, 1), 0.5, 0.5, 1.0),
        ((1, 1, 1), 0.5, 0.2, 0.4),
    ],
)
def test_head_equals_the_formulas(
    backend: OnnxRuntimeBackend,
    bank: TextBank,
    seed: int,
    values: tuple[tuple[float, float, float], float, float, float],
) -> None:
    features, head_settings = random_features(seed), settings(*values)
    inputs = {**asdict(features), **asdict(bank), **asdict(head_settings)}
    score, sources, class_map = reference_head(inputs)
    output = backend.head(features, bank, head_settings)
    np.testing.assert_allclose(output.sources, sources, atol=2e-6)
    np.testing.assert_allclose(output.score, score, atol=2e-6)
    assert np.mean(output.class_map == class_map) > 0.99  # ties may fall either way


def test_a_source_without_prompts_gives_no_probability_and_no_nan(backend: OnnxRuntimeBackend, bank: TextBank) -> None:
    silent = replace(bank, aligned_mask=np.zeros_like(bank.aligned_mask))
    output = backend.head(random_features(0), silent, settings())
    assert np.isfinite(output.score).all()
    np.testing.assert_array_equal(output.sources[1], 1)


def test_two_runs_give_the_same_bits(tiny_bundle: Path, bank: TextBank) -> None:
    image = picture(64, 32)[None]
    runs = []
    for _ in range(2):
        backend = OnnxRuntimeBackend(load_bundle(tiny_bundle), threads=2)
        features = backend.visual(image)
        runs.append((asdict(features), asdict(backend.head(features, bank, settings()))))
    for first, second in zip(*runs):
        assert all(np.array_equal(first[name], second[name]) for name in first)


def noise(seed: int) -> ByteArray:
    return np.random.default_rng(seed).integers(0, 256, (1, 32, 64, 3), np.uint8)


def alone(folder: Path, image: ByteArray) -> dict[str, np.ndarray]:
    """The features by a session that runs nothing else."""
    session = open_session("visual.onnx", (folder / "visual.onnx").read_bytes(), threads=1)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": image})))


def assert_same_bits(have: VisualOutput, want: dict[str, np.ndarray]) -> None:
    assert set(vars(have)) == set(want)
    for name, values in want.items():
        np.testing.assert_array_equal(getattr(have, name), values, strict=True)


def test_features_that_are_held_are_never_overwritten(tiny_bundle: Path, bank: TextBank) -> None:
    """The runtime does not copy its outputs: they are its own memory, which it takes again when they are let go."""
    backend = OnnxRuntimeBackend(load_bundle(tiny_bundle), threads=1)
    held = [backend.visual(noise(seed)) for seed in range(5)]
    part = backend.visual(noise(5)).clip_features[:, 1:, 2:]  # as what the engine cuts off; the whole is let go
    for seed in range(6, 10):
        backend.head(backend.visual(noise(seed)), bank, settings())
    backend.close()
    for seed, features in enumerate(held):
        assert_same_bits(features, alone(tiny_bundle, noise(seed)))
    np.testing.assert_array_equal(part, alone(tiny_bundle, noise(5))["clip_features"][:, 1:, 2:])


def test_threads_get_each_their_own_features(tiny_bundle: Path) -> None:
    backend = OnnxRuntimeBackend(load_bundle(tiny_bundle), threads=2)
    seeds = list(range(8)) * 6
    with ThreadPoolExecutor(4) as pool:
        several = list(pool.map(lambda seed: backend.visual(noise(seed)), seeds))  # held until all are done
        in_turn = pool.map(lambda seed: np.array(backend.visual(noise(seed)).pixel_embeddings), seeds)  # let go at once
        for seed, features, pixels in zip(seeds, several, in_turn):
            want = alone(tiny_bundle, noise(seed))
            assert_same_bits(features, want)
            np.testing.assert_array_equal(pixels, want["pixel_embeddings"])


def test_long_lists_of_texts_are_encoded_in_batches(backend: OnnxRuntimeBackend) -> None:
    tokens = np.tile(np.array([[1, 11, 2] + [0] * 9]), (600, 1))
    rows = backend.text(tokens)
    assert rows.shape == (600, 8)
    np.testing.assert_array_equal(rows, np.tile(rows[:1], (600, 1)))


def test_failures_inside_the_runtime_are_engine_errors(backend: OnnxRuntimeBackend) -> None:
    with pytest.raises(EngineError, match="ONNX Runtime failed"):
        backend.visual(np.zeros((1, 5, 5, 3), np.uint8))


def test_a_closed_backend_says_so(tiny_bundle: Path) -> None:
    backend = OnnxRuntimeBackend(load_bundle(tiny_bundle), threads=1)
    backend.close()
    with pytest.raises(EngineError, match="closed"):
        backend.visual(picture(64, 32)[None])


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "b")
    (folder / "head.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"head\.onnx: expected an ONNX graph"):
        OnnxRuntimeBackend(load_bundle(rehash(folder)))


def test_a_graph_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "b")
    other = build_tiny_bundle(tmp_path / "other", width=128)
    (folder / "visual.onnx").write_bytes((other / "visual.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"visual\.onnx: input image: expected W = 64 as in bundle\.yaml, got 128"):
        OnnxRuntimeBackend(load_bundle(rehash(folder)))


def test_weights_outside_of_the_verified_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX can keep weights in another file, which no hash covers."""
    folder = build_tiny_bundle(tmp_path / "b")
    model = onnx.load(folder / "text.onnx")
    onnx.save_model(model, folder / "text.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    monkeypatch.chdir(folder)
    with pytest.raises(BundleError, match=r"text\.onnx: expected all weights inside"):
        OnnxRuntimeBackend(load_bundle(rehash(folder)))
