# SPDX-License-Identifier: Apache-2.0
"""Tokens of the bundle's tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vl_anomaly_ros.errors import BundleError
from vl_anomaly_ros.text.tokenizer import MAX_TOKENIZER_BYTES, Tokenizer


@pytest.fixture
def content(tiny_bundle: Path) -> bytes:
    return (tiny_bundle / "tokenizer.json").read_bytes()


def test_ids_have_one_length_and_type(content: bytes) -> None:
    ids = Tokenizer(content, 12)(["dog", "a photo of a " + "dog " * 40])
    assert ids.shape == (2, 12)
    assert ids.dtype == np.int64
    assert Tokenizer(content, 12)([]).shape == (0, 12)


def test_learned_context_is_one_token_each(content: bytes) -> None:
    plain, learned = Tokenizer(content, 12)(["dog", "<ctx0> <ctx1> dog"])
    assert np.count_nonzero(learned) == np.count_nonzero(plain) + 2
    assert plain[1] in learned


def test_refuses_another_length_and_no_tokenizer(content: bytes) -> None:
    with pytest.raises(BundleError, match=r"to 77 ids a text .*, got padding to 12"):
        Tokenizer(content, 77)
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        Tokenizer(b"{}", 12)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["padding"].update(strategy={"Fixed": 10**9}),
        lambda v: v["padding"].update(strategy="BatchLongest"),
        lambda v: v["padding"].update(pad_to_multiple_of=10**9),
        lambda v: v["truncation"].update(max_length=10**9),
        lambda v: v.update(padding=None),
        lambda v: v.update(truncation=None),
    ],
)
def test_padding_that_would_take_all_memory_is_seen_before_the_first_text(
    content: bytes, change: Callable[[dict[str, Any]], object]
) -> None:
    values = json.loads(content)
    change(values)
    with pytest.raises(BundleError, match="expected padding and truncation to 12 ids a text"):
        Tokenizer(json.dumps(values).encode(), 12)


@pytest.mark.parametrize(
    "spoiled", [b"[" * 100_000, b"\x1b[2J", b"", b'{"version": "1.0"', bytes(MAX_TOKENIZER_BYTES + 1)]
)
def test_spoiled_files_are_refused_in_one_printable_line(spoiled: bytes) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.json: expected") as caught:
        Tokenizer(spoiled, 12)
    assert str(caught.value).isprintable()
