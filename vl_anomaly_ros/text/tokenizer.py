# SPDX-License-Identifier: Apache-2.0
"""Texts to token ids, by the tokenizer that travels with the bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer as _Tokenizer

from vl_anomaly_ros.errors import BundleError
from vl_anomaly_ros.untrusted import plain

MAX_TOKENIZER_BYTES = 1 << 26


class Tokenizer:
    """Token ids of fixed length. Start, end, padding and truncation are configured inside the tokenizer's file.

    Args:
        content: bytes of a `tokenizer.json`.
        context_length: how many ids each text must give.

    Raises:
        BundleError: the content is no tokenizer, or its ids have another length.
    """

    def __init__(self, content: bytes, context_length: int) -> None:
        if len(content) > MAX_TOKENIZER_BYTES:
            raise BundleError(f"tokenizer.json: expected at most {MAX_TOKENIZER_BYTES} bytes, got {len(content)}")
        self._tokenizer = _asked("a file of the tokenizers library", lambda: _Tokenizer.from_buffer(content))
        self._context_length = context_length
        # Looked at before the first text: padding to a billion ids would take all memory.
        padding, truncation = self._tokenizer.padding or {}, self._tokenizer.truncation or {}
        ids = (padding.get("length"), truncation.get("max_length"))
        if ids != (context_length, context_length) or padding.get("pad_to_multiple_of"):
            raise BundleError(
                f"tokenizer.json: expected padding and truncation to {context_length} ids a text (context_length in "
                f"bundle.yaml), got padding to {ids[0]} and truncation to {ids[1]}; configure them in the file"
            )

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Ids of the texts: (N, context_length) int64.

        Raises:
            BundleError: the rules in the file cannot be followed.
        """
        if not texts:
            return np.zeros((0, self._context_length), np.int64)
        encodings = _asked("rules that can be followed", lambda: self._tokenizer.encode_batch(list(texts)))
        for encoding in encodings:
            if len(encoding) != self._context_length:
                raise BundleError(
                    f"tokenizer.json: expected {self._context_length} ids a text, got {len(encoding)}; "
                    "export the bundle again"
                )
        return np.array([encoding.ids for encoding in encodings], np.int64)


def _asked(expected: str, call: Callable[[], Any]) -> Any:
    """What the library answers. It raises plain Exception for a malformed file; its Rust code panics on worse ones."""
    try:
        return call()
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        words = plain(" ".join(str(error)[:200].split()))
        raise BundleError(f"tokenizer.json: expected {expected}, got: {words}; export the bundle again") from error
