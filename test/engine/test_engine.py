# SPDX-License-Identifier: Apache-2.0
"""The engine: predictable scores on colours, vocabularies and weights at run time, nothing silent."""

from __future__ import annotations

import threading
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tiny_bundle import BLUE, GREEN, GREY, MAGENTA, POISON_RGB, RED, YELLOW, picture

from vl_anomaly_ros.config import Config, EngineConfig, with_values
from vl_anomaly_ros.engine.backend import HeadOutput, HeadSettings, VisualOutput, check_finite
from vl_anomaly_ros.engine.bundle import Bundle, load_bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.engine.terms import terms_of
from vl_anomaly_ros.errors import DataError, EngineError
from vl_anomaly_ros.text.bank import TextBank
from vl_anomaly_ros.text.vocabulary import KnownClass, Vocabulary
from vl_anomaly_ros.types import ByteArray, FloatArray


class Tampered(OnnxRuntimeBackend):
    """A backend whose outputs a test changes; it also counts calls."""

    name = "tampered"

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, threads=1)
        self.features: dict[str, npt.NDArray[Any]] = {}
        self.outputs: dict[str, npt.NDArray[Any]] = {}
        self.texts = 0

    def visual(self, image: ByteArray) -> VisualOutput:
        return replace(super().visual(image), **self.features)

    def head(self, features: VisualOutput, bank: TextBank, settings: HeadSettings) -> HeadOutput:
        return replace(super().head(features, bank, settings), **self.outputs)

    def check(self, bank: TextBank) -> None:
        """Any bank is taken."""

    def text(self, tokens: npt.NDArray[np.int64]) -> FloatArray:
        self.texts += len(tokens)
        return super().text(tokens)


@pytest.fixture
def backend(tiny_bundle: Path) -> Tampered:
    return Tampered(load_bundle(tiny_bundle))


@pytest.fixture
def engine(backend: Tampered, tiny_bundle: Path) -> Engine:
    return Engine(load_bundle(tiny_bundle), backend)


def plain(colour: tuple[int, int, int]) -> ByteArray:
    return np.full((32, 64, 3), colour, np.uint8)


@pytest.mark.parametrize(("colour", "index"), [(GREY, 0), (GREEN, 1), (BLUE, 2)])
def test_known_colours_score_low_and_have_their_class(engine: Engine, colour: tuple[int, int, int], index: int) -> None:
    scores = engine.run(plain(colour))
    assert scores.score.max() < 0.1
    assert np.all(scores.class_map == index)


@pytest.mark.parametrize("colour", [RED, MAGENTA, YELLOW])
def test_unknown_colours_score_high(engine: Engine, colour: tuple[int, int, int]) -> None:
    assert engine.run(plain(colour)).score.min() > 0.6


def test_a_new_known_class_acts_on_the_next_frame_through_the_same_sessions(engine: Engine, backend: Tampered) -> None:
    sessions = [getattr(backend, name) for name in ("_visual", "_head", "_text")]
    before = engine.run(plain(RED))
    known = engine.lexicon.vocabulary.known
    revision = engine.set_vocabulary(replace(engine.lexicon.vocabulary, known=(*known, KnownClass("fox"))))
    after = engine.run(plain(RED))
    assert (before.lexicon.revision, revision, after.lexicon.revision) == (0, 1, 1)
    assert all(old is new for old, new in zip(sessions, [backend._visual, backend._head, backend._text]))
    # "fox" is red: text and CLIP now explain it, half as well as together with the OOD prompt "animal";
    # the detector was never trained on it.
    assert after.sources[1:].max() < before.sources[1:].min() - 0.3
    np.testing.assert_allclose(after.sources[0], before.sources[0], atol=1e-6)
    assert np.all(after.class_map == 3)
    assert after.score.max() < before.score.min() - 0.15


def test_removing_a_known_class_makes_it_anomalous(engine: Engine) -> None:
    known = engine.lexicon.vocabulary.known
    engine.set_vocabulary(replace(engine.lexicon.vocabulary, known=known[1:]))
    assert engine.run(plain(GREY)).sources[0].min() > 0.9


def test_ood_prompts_take_probability_away(engine: Engine) -> None:
    with_prompts = engine.run(plain(RED)).sources[1:].mean()
    engine.set_vocabulary(replace(engine.lexicon.vocabulary, ood_prompts=()))
    assert engine.run(plain(RED)).sources[1:].mean() < with_prompts - 0.2


def test_merging_classes_is_a_run_time_input(engine: Engine) -> None:
    """Stripes of green and blue finer than a mask pixel: a split vote is doubt, unless the two are one group."""
    stripes = plain(GREEN)
    stripes[:, ::2] = BLUE
    vocabulary = engine.lexicon.vocabulary
    merged = engine.run(stripes).sources[1:]
    engine.set_vocabulary(replace(vocabulary, known=tuple(KnownClass(k.name) for k in vocabulary.known)))
    assert engine.run(stripes).sources[1:].mean() > merged.mean() + 0.2


def test_candidates_can_be_segmented_without_encoding_anything(engine: Engine, backend: Tampered) -> None:
    image = picture()
    scores, backend.texts = engine.run(image), 0
    class_map = engine.segment(scores, engine.lexicon.bank.candidates[[1, 0]])  # sofa and dog
    assert backend.texts == 0
    at = {name: class_map[h, w] for name, (h, w) in {"red": (5, 4), "magenta": (5, 12), "sky": (0, 8)}.items()}
    assert at == {"red": 4, "magenta": 3, "sky": 2}
    np.testing.assert_array_equal(engine.segment(scores, np.zeros((0, 8), np.float32)), scores.class_map)
    np.testing.assert_array_equal(engine.run(image).score, scores.score)


def test_source_weights_are_a_run_time_value(engine: Engine) -> None:
    image = picture()
    for index, weights in enumerate(np.eye(3).tolist()):
        settings = with_values(Config(), {"method.source_weights": weights}).method
        scores = engine.run(image, terms_of(settings, engine.bundle.calibration))
        np.testing.assert_allclose(scores.score, scores.sources[index], atol=1e-6)
    default = engine.run(image)
    np.testing.assert_allclose(default.score, np.einsum("s,syx->yx", [0.5, 0.25, 0.25], default.sources), atol=1e-6)


def test_a_vocabulary_that_cannot_be_encoded_changes_nothing(
    engine: Engine, backend: Tampered, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(tokens: npt.NDArray[np.int64]) -> FloatArray:
        return np.full((len(tokens), 8), np.nan, np.float32)

    before = engine.lexicon
    monkeypatch.setattr(backend, "text", broken)
    with pytest.raises(EngineError, match="unit vector"):
        engine.set_vocabulary(Vocabulary((KnownClass("fox"),)))
    assert engine.lexicon is before
    monkeypatch.undo()
    assert engine.set_vocabulary(Vocabulary((KnownClass("fox"),))) == 1


def test_only_new_words_are_encoded(engine: Engine, backend: Tampered) -> None:
    backend.texts = 0
    engine.set_vocabulary(engine.lexicon.vocabulary)
    assert backend.texts == 0
    engine.set_vocabulary(replace(engine.lexicon.vocabulary, candidates=("dog", "sofa", "cone", "fox")))
    assert backend.texts == 2  # two hand-written prompts for "fox"


def test_each_frame_sees_one_whole_vocabulary_while_it_changes(engine: Engine) -> None:
    """Frames run while another thread swaps vocabularies of different sizes."""
    vocabulary = engine.lexicon.vocabulary
    others = [replace(vocabulary, known=(*vocabulary.known, KnownClass("fox"))), vocabulary]
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            engine.set_vocabulary(others[engine.lexicon.revision % 2])

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            scores = engine.run(plain(RED))
            has_fox = "fox" in scores.lexicon.vocabulary.known_names
            assert np.all((scores.class_map == 3) == has_fox)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [item.name for item in fields(VisualOutput)])
def test_features_that_are_not_finite_are_refused(engine: Engine, backend: Tampered, name: str, value: float) -> None:
    array = np.array(getattr(OnnxRuntimeBackend.visual(backend, plain(GREY)[None]), name))
    array.ravel()[-1] = value
    backend.features = {name: array}
    with pytest.raises(EngineError, match=f"{name}: expected finite"):
        engine.run(plain(GREY))


@pytest.mark.parametrize("size", [1, 7, 64, 1001])
def test_one_number_that_is_not_finite_is_found_wherever_it_stands(size: int) -> None:
    good = np.full((1, 1, size), 3e38, np.float32)  # large, but finite
    features = VisualOutput(good, good[0], good[0], good, good)
    check_finite(features)
    for place in range(size):
        bad = good.copy()
        bad[0, 0, place] = (np.nan, np.inf, -np.inf)[place % 3]
        with pytest.raises(EngineError, match="pixel_embeddings: expected finite"):
            check_finite(replace(features, pixel_embeddings=bad))
        with pytest.raises(EngineError, match="clip_features: expected finite"):
            check_finite(replace(features, clip_features=np.concatenate([good, bad], axis=2)[:, :, ::-1]))


@pytest.mark.parametrize("name", ["score", "sources"])
def test_scores_that_are_not_finite_are_refused(engine: Engine, backend: Tampered, name: str) -> None:
    shape = {"score": (8, 16), "sources": (3, 8, 16)}[name]
    array = np.zeros(shape, np.float32)
    array[..., 3, 4] = np.nan
    backend.outputs = {name: array}
    with pytest.raises(EngineError, match=f"{name}: expected finite"):
        engine.run(plain(GREY))


def test_one_pixel_that_breaks_the_network_is_not_hidden(engine: Engine) -> None:
    image = plain(GREY)
    image[10, 20] = POISON_RGB
    with pytest.raises(EngineError, match="finite"):
        engine.run(image)


@pytest.mark.parametrize(
    ("part", "arrays", "said"),
    [
        ("features", {"mask_logits": np.zeros((4, 8, 15), np.float32)}, "mask_logits: expected ?x8x16 float32"),
        ("features", {"class_logits": np.zeros((4, 5), np.float32)}, "class_logits"),
        ("features", {"mask_embeddings": np.zeros((3, 8), np.float32)}, "mask_embeddings"),
        ("features", {"clip_features": np.zeros((8, 4, 8), np.float64)}, "got 8x4x8 float64"),
        ("outputs", {"score": np.zeros((16, 8), np.float32)}, "score: expected 8x16"),
        ("outputs", {"class_map": np.zeros((8, 16), np.int64)}, "class_map"),
        ("outputs", {"class_map": np.full((8, 16), 3, np.int32)}, "indices of 3 known classes"),
        ("outputs", {"class_map": np.full((8, 16), -1, np.int32)}, "indices of 3 known classes"),
    ],
)
def test_outputs_of_another_shape_are_refused(
    engine: Engine, backend: Tampered, part: str, arrays: dict[str, npt.NDArray[Any]], said: str
) -> None:
    setattr(backend, part, arrays)
    with pytest.raises(EngineError) as caught:
        engine.run(plain(GREY))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8), None]
)
def test_images_of_another_kind_are_refused(engine: Engine, image: Any) -> None:
    with pytest.raises(DataError, match="image"):
        engine.run(image)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 500), (1242, 375), (1920, 1080)])
def test_padding_never_comes_back(engine: Engine, width: int, height: int) -> None:
    """The padding is grey, which is road; a red image must be anomalous everywhere but next to it."""
    scores = engine.run(np.full((height, width, 3), RED, np.uint8))
    assert scores.sources[0].min() > 0.9
    assert scores.score.shape == scores.class_map.shape == scores.sources.shape[1:]


def test_the_engine_says_what_it_is(engine: Engine, tiny_bundle: Path) -> None:
    assert engine.name == "tampered/tiny"
    made = Engine.from_config(EngineConfig(bundle=str(tiny_bundle), threads=1))
    assert made.name == "onnxruntime-cpu/tiny"
    assert (made.backend.precision, made.backend.device) == ("fp32", "cpu")
    made.close()
    with pytest.raises(EngineError, match="closed"):
        made.run(plain(GREY))


def test_a_broken_network_is_found_before_the_first_frame(tiny_bundle: Path) -> None:
    backend = Tampered(load_bundle(tiny_bundle))
    backend.features = {"clip_features": np.full((8, 4, 8), np.nan, np.float32)}
    with pytest.raises(EngineError, match="clip_features"):
        Engine(load_bundle(tiny_bundle), backend)
