# SPDX-License-Identifier: Apache-2.0
"""The methods, and every term of their scores, each by what it does to colours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tiny_bundle import BLUE, GREEN, GREY, MAGENTA, RED, YELLOW, picture

from vl_anomaly_ros.config import METHODS, Config, MethodConfig, with_values
from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.engine.engine import Engine, Scores
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.engine.terms import BankTerms, bank_with, terms_of
from vl_anomaly_ros.errors import ConfigError
from vl_anomaly_ros.text.vocabulary import KnownClass

Colour = tuple[int, int, int]


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    bundle = load_bundle(tiny_bundle)
    return Engine(bundle, OnnxRuntimeBackend(bundle, threads=1))


def method(**values: object) -> MethodConfig:
    return with_values(Config(), {f"method.{name}": value for name, value in values.items()}).method


def scores(engine: Engine, image: npt.NDArray[np.uint8] | Colour, **values: object) -> Scores:
    if isinstance(image, tuple):
        image = np.full((32, 64, 3), image, np.uint8)
    return engine.run(image, terms_of(method(**values), engine.bundle.calibration))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_tells_the_unknown_from_the_known(engine: Engine, name: str) -> None:
    known = max(scores(engine, colour, name=name).score.max() for colour in (GREY, GREEN, BLUE))
    unknown = min(scores(engine, colour, name=name).score.min() for colour in (RED, MAGENTA, YELLOW))
    assert known + 0.2 < unknown


def test_no_terms_are_those_of_the_default_settings(engine: Engine) -> None:
    image = picture()
    np.testing.assert_array_equal(engine.run(image).score, scores(engine, image).score)


def test_clipomaly_is_dense_clip_against_the_known_classes_alone(engine: Engine) -> None:
    image = picture()
    got = scores(engine, image, name="clipomaly")
    np.testing.assert_array_equal(got.score, got.sources[2])
    same = scores(engine, image, source_weights=[0, 0, 1], clip_dense_weight=1, ood_prompts="off")
    np.testing.assert_array_equal(got.score, same.score)
    with_prompts = scores(engine, RED, name="clipomaly", ood_prompts="on")
    assert with_prompts.score.min() > scores(engine, RED, name="clipomaly").score.max() + 0.1


def test_vl4ad_is_the_ensemble_and_weights_of_sources_do_not_matter(engine: Engine) -> None:
    image = picture()
    got = scores(engine, image, name="vl4ad")
    np.testing.assert_array_equal(got.score, scores(engine, image, name="vl4ad", source_weights=[1, 0, 0]).score)
    np.testing.assert_array_equal(got.score, scores(engine, image, ensemble_weight=1).score)
    half = scores(engine, image, ensemble_weight=0.5).score
    np.testing.assert_allclose(half, (got.score + scores(engine, image).score) / 2, atol=1e-6)


def test_exponents_move_the_ensemble_from_the_learned_to_frozen_clip(engine: Engine) -> None:
    """At 0 it is the aligned masks alone, at 1 CLIP under the masks alone."""
    image = picture()
    learned = scores(engine, image, name="vl4ad", seen_exponent=0, unseen_exponent=0).score
    by_masks = scores(engine, image, source_weights=[0, 1, 0], text_pixel_weight=0).score
    np.testing.assert_allclose(learned, by_masks, atol=1e-5)
    frozen = scores(engine, image, name="vl4ad", seen_exponent=1, unseen_exponent=1).score
    under_masks = scores(engine, image, source_weights=[0, 0, 1], clip_dense_weight=0).score
    np.testing.assert_allclose(frozen, under_masks, atol=1e-5)


def test_the_text_score_is_between_the_pixels_and_the_masks(tiny_bundle: Path) -> None:
    """The mask of red, magenta and yellow things is all three; a pixel of it is red alone, and red is known here."""
    bundle = load_bundle(tiny_bundle)
    engine = Engine(bundle, OnnxRuntimeBackend(bundle, threads=1))
    vocabulary = bundle.vocabulary
    engine.set_vocabulary(replace(vocabulary, known=(*vocabulary.known, KnownClass("fox")), ood_prompts=("cone",)))
    masks, half, pixels = (scores(engine, RED, text_pixel_weight=w).sources[1] for w in (0, 0.5, 1))
    assert masks.min() > pixels.max() + 0.2
    np.testing.assert_allclose(half, (masks + pixels) / 2, atol=1e-5)


def test_without_ood_prompts_their_words_take_nothing(engine: Engine) -> None:
    on, off = (scores(engine, RED, ood_prompts=value).sources[1:].mean() for value in ("on", "off"))
    assert off < on - 0.2
    assert scores(engine, RED, ood_prompts="off").class_map.max() < 3


def test_without_merging_a_split_vote_is_doubt(engine: Engine) -> None:
    stripes = np.full((32, 64, 3), GREEN, np.uint8)
    stripes[:, ::2] = BLUE
    merged, split = (scores(engine, stripes, merging=value).sources[1:].mean() for value in (True, False))
    assert split > merged + 0.2


def test_averaged_prompts_are_one_unit_row_of_each_kind(engine: Engine) -> None:
    bank = engine.lexicon.bank
    averaged = bank_with(BankTerms(max_logit=False), bank)
    assert averaged.text_bank.shape == (len(bank.text_bank), 2, bank.text_bank.shape[2])
    np.testing.assert_allclose(np.linalg.norm(averaged.text_bank, axis=2), 1, atol=1e-5)
    np.testing.assert_array_equal(averaged.aligned_mask, [[1, 0]] * len(bank.text_bank))
    np.testing.assert_array_equal(averaged.clip_mask, [[0, 1]] * len(bank.text_bank))
    road = bank.text_bank[0][bank.clip_mask[0] > 0].mean(axis=0)
    np.testing.assert_allclose(averaged.text_bank[0, 1], road / np.linalg.norm(road), atol=1e-6)


def test_hand_written_prompts_can_stand_in_for_the_learned_ones(engine: Engine) -> None:
    bank = engine.lexicon.bank
    by_hand = bank_with(BankTerms(learned_prompts=False), bank)
    np.testing.assert_array_equal(by_hand.aligned_mask, bank.clip_mask)
    np.testing.assert_array_equal(by_hand.text_bank, bank.text_bank)


def test_a_new_vocabulary_is_seen_by_terms_that_change_the_bank(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    engine = Engine(bundle, OnnxRuntimeBackend(bundle, threads=1))
    before = scores(engine, GREY, name="clipomaly").class_map.max()
    vocabulary = bundle.vocabulary
    engine.set_vocabulary(type(vocabulary)(known=vocabulary.known[::-1]))
    assert (before, scores(engine, GREY, name="clipomaly").class_map.min()) == (0, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "rba"}, "method.name: expected one of vl_anomaly, vl4ad, clipomaly, got 'rba'"),
        ({"ensemble_weight": -0.5}, "method.ensemble_weight: expected -1 or 0 to 1"),
        ({"clip_dense_weight": -0.1}, "method.clip_dense_weight: expected -1 or 0 to 1"),
        ({"text_pixel_weight": 1.5}, "method.text_pixel_weight: expected 0.0 to 1.0"),
        ({"ood_prompts": "yes"}, "method.ood_prompts: expected one of method, on, off"),
    ],
)
def test_wrong_settings_are_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        method(**values)
