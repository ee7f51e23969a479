# SPDX-License-Identifier: Apache-2.0
"""open_clip's tokenizer in the form that bundles carry, against open_clip's own."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest

open_clip = pytest.importorskip("open_clip")

from vl_anomaly_ros.text.tokenizer import Tokenizer  # noqa: E402
from vl_anomaly_ros.training.tokenizer import open_clip_tokenizer  # noqa: E402

TEXTS = (
    "a photo of a dog.", "traffic light", "a 3d-printed cone, isn't it?", "HELLO World's end!!! 123abc", "", "!", "!!!",
    "café naïve ångström", "e\u0301clair", "Ñandú ÜBER straße", "日本語 テスト", "🚗🚙 emoji", "№ 5 ½ ²", "a.b.c --",
    "  lots \t of   space ", "don\u2019t \u201cquote\u201d \u2018it\u2019",
    "foo_bar/baz@qux.com 50% $5", "I'll we've you're he'd I'm",
    "'Sup it'S", "\u00a0no-break space", "x" * 400, "word " * 200, "<end_of_text> a", "ground power unit", "chock",
)  # fmt: skip


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """As the runtime reads it from a bundle, with four learned contexts."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    open_clip_tokenizer(77, 4).save(str(path))
    return Tokenizer(Path(path).read_bytes(), 77)


def test_ids_are_open_clips(runtime: Tokenizer) -> None:
    chance = random.Random(0)  # noqa: S311
    letters = string.ascii_letters + string.digits + " ,.'-!?/()" + "éüñß"
    texts = [*TEXTS, *("".join(chance.choices(letters, k=chance.randint(1, 60))) for _ in range(2000))]
    wanted = open_clip.get_tokenizer("ViT-B-16")(texts).numpy()
    have = runtime(texts)
    assert have.shape == (len(texts), 77)
    differ = [text for text, a, b in zip(texts, have, wanted, strict=True) if (a != b).any()]
    assert not differ


def test_learned_contexts_follow_the_published_ids(runtime: Tokenizer) -> None:
    (row,) = runtime(["<ctx0> <ctx1> <ctx2> <ctx3> traffic light"])
    (plain,) = runtime(["traffic light"])
    assert row[:6].tolist() == [49406, 49408, 49409, 49410, 49411, plain[1]]
    assert row[6:8].tolist() == plain[2:4].tolist()


def test_html_entities_are_the_stated_difference(runtime: Tokenizer) -> None:
    wanted = open_clip.get_tokenizer("ViT-B-16")(["a &amp; b"]).numpy()
    assert (runtime(["a & b"]) == wanted).all()
    assert (runtime(["a &amp; b"]) != wanted).any()
