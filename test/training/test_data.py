# SPDX-License-Identifier: Apache-2.0
"""Windows, augmentation, captions, tokenizer and vocabulary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytest.importorskip("transformers")

import small_training  # noqa: E402

from vl_anomaly_ros.evaluation.image_set import ANOMALY, VOID  # noqa: E402
from vl_anomaly_ros.simulation.catalogue import ANOMALIES, KNOWN_CLASSES, anomaly_categories  # noqa: E402
from vl_anomaly_ros.text.vocabulary import Vocabulary  # noqa: E402
from vl_anomaly_ros.training import captions  # noqa: E402
from vl_anomaly_ros.training.clip_task import window_regions  # noqa: E402
from vl_anomaly_ros.training.config import PhaseConfig  # noqa: E402
from vl_anomaly_ros.training.data import (  # noqa: E402
    ImageSet,
    augment,
    cut_window,
    draw_picture,
    load_image_set,
    random_window,
)
from vl_anomaly_ros.training.pasted import PASTED, with_pasted  # noqa: E402
from vl_anomaly_ros.training.tokenizer import context_tokens, train_tokenizer  # noqa: E402
from vl_anomaly_ros.training.vocabulary import make_vocabulary  # noqa: E402


@pytest.fixture(scope="module")
def images(world: Path) -> ImageSet:
    return load_image_set(world / "clip")


def test_the_whole_image_as_a_window_is_the_image(images: ImageSet) -> None:
    window = cut_window(images.picture(2), (32.0, 64.0), 1.0, (64, 128), flip=False)
    np.testing.assert_array_equal(window.image, images.images[2])
    np.testing.assert_array_equal(window.semantic, images.semantic[2])
    np.testing.assert_array_equal(window.instances, images.instances[2])


def test_a_mirrored_window_is_the_mirrored_image(images: ImageSet) -> None:
    window = cut_window(images.picture(1), (32.0, 64.0), 1.0, (64, 128), flip=True)
    np.testing.assert_array_equal(window.semantic, images.semantic[1][:, ::-1])
    np.testing.assert_array_equal(window.image, images.images[1][:, ::-1])


def test_what_lies_outside_the_image_is_void(images: ImageSet) -> None:
    window = cut_window(images.picture(0), (32.0, 64.0), 0.5, (64, 128), flip=False)
    inside = window.semantic != VOID
    assert inside.mean() == pytest.approx(0.25, abs=0.02)
    assert (window.instances[~inside] == 0).all()


def test_random_windows_depend_on_the_generator_alone(images: ImageSet) -> None:
    phase = PhaseConfig(crop_height_px=32, crop_width_px=48)

    def draw(seed: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(seed)
        return random_window(draw_picture(images, generator), phase, generator, 0.8).image

    np.testing.assert_array_equal(draw(1), draw(1))
    assert any(not np.array_equal(draw(1), draw(seed)) for seed in range(2, 6))


def test_pasted_shapes_are_unknown_objects_and_leave_the_picture_as_it_was(images: ImageSet) -> None:
    before = images.picture(0)
    copy = before.image.copy()
    pasted = with_pasted(before, 4.0, torch.Generator().manual_seed(5))
    new = {number: record for number, record in pasted.objects.items() if number not in before.objects}
    assert new
    assert {record["category"] for record in new.values()} == {PASTED}
    np.testing.assert_array_equal(before.image, copy)
    assert (pasted.image != before.image).any()
    for number, record in new.items():
        inside = pasted.instances == number
        x0, y0, x1, y1 = record["bbox"]
        assert inside[y0:y1, x0:x1].sum() == inside.sum() > 0
        assert (pasted.semantic[inside] == ANOMALY).all()
    assert with_pasted(before, 0.0, torch.Generator()) is before


def test_regions_carry_the_category_under_their_mask(images: ImageSet) -> None:
    window = cut_window(images.picture(0), (32.0, 64.0), 1.0, (64, 128), flip=False)
    masks, names = window_regions(window, images.picture(0), torch.Generator().manual_seed(0))
    assert {"car", "dog"} <= set(names)
    for mask, name in zip(masks, names):
        if name in ("road", "sky"):
            assert (window.semantic[mask > 0] == small_training.CLASSES.index(name)).all()


def test_augmentation_keeps_range_and_shape_and_is_repeatable() -> None:
    pictures = torch.rand(3, 3, 16, 24)
    one, two = (augment(pictures, torch.Generator().manual_seed(4)) for _ in range(2))
    assert one.shape == pictures.shape
    assert float(one.min()) >= 0
    assert float(one.max()) <= 1
    assert torch.equal(one, two)
    assert not torch.allclose(one, pictures, atol=0.02)


def test_every_word_of_the_world_has_true_words_and_none_of_a_stranger() -> None:
    for row in ANOMALIES:
        words = captions.true_words(row.name, known=False)
        assert words[0] == row.name
        assert set(captions.ANOMALY_WORDS) <= set(words)
        assert not set(words) & set(KNOWN_CLASSES)
    for name in KNOWN_CLASSES:
        words = captions.true_words(name, known=True)
        assert not set(words) & set(captions.ANOMALY_WORDS)
        assert not set(words) & {row.name for row in ANOMALIES}


def test_tokenizer_writes_any_word_and_pads_to_length() -> None:
    tokenizer = train_tokenizer(captions.corpus(), context_length=16, contexts=4)
    for text in ("a photo of a dog.", "Zyxomma quagga", "", "<ctx0> <ctx1> <ctx2> <ctx3> gas canister"):
        ids = tokenizer.encode(text).ids
        assert len(ids) == 16
        assert ids[0] == 1
        assert ids.count(2) == 1
        assert tokenizer.token_to_id("<unk>") not in ids
    contexts = [tokenizer.token_to_id(name) for name in context_tokens(4)]
    assert tokenizer.encode("<ctx0> <ctx1> <ctx2> <ctx3> sofa").ids[1:5] == contexts
    assert len(tokenizer.encode("word " * 50).ids) == 16


def test_the_shipped_vocabulary_is_valid_and_keeps_the_unseen_out() -> None:
    taught = [row.name for row in anomaly_categories("seen")]
    vocabulary = Vocabulary.from_mapping(make_vocabulary(KNOWN_CLASSES, taught))
    assert vocabulary.known_names == KNOWN_CLASSES
    assert set(taught) == set(vocabulary.candidates)
    assert "animal" in vocabulary.ood_prompts
    unseen = {row.name for row in anomaly_categories("unseen")}
    assert not unseen & {*vocabulary.candidates, *vocabulary.ood_prompts}
