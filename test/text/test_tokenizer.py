# SPDX-License-Identifier: Apache-2.0
"""Tokens of the bundle's tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vl_anomaly_ros.errors import BundleError
from vl_anomaly_ros.text.tokenizer import Tokenizer


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
    with pytest.raises(BundleError, match="expected 77 ids a text"):
        Tokenizer(content, 77)
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        Tokenizer(b"{}", 12)
