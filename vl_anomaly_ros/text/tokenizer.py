# SPDX-License-Identifier: Apache-2.0
"""Texts to token ids, by the tokenizer that travels with the bundle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer as _Tokenizer

from vl_anomaly_ros.errors import BundleError


class Tokenizer:
    """Token ids of fixed length. Start, end, padding and truncation are configured inside the tokenizer's file.

    Args:
        content: bytes of a `tokenizer.json`.
        context_length: how many ids each text must give.

    Raises:
        BundleError: the content is no tokenizer, or its ids have another length.
    """

    def __init__(self, content: bytes, context_length: int) -> None:
        try:
            self._tokenizer = _Tokenizer.from_buffer(content)
        except Exception as error:  # the library raises plain Exception for a malformed file
            raise BundleError(f"tokenizer.json: expected a file of the tokenizers library, got: {error}") from error
        self._context_length = context_length
        length = len(self._tokenizer.encode("a").ids)
        if length != context_length:
            raise BundleError(
                f"tokenizer.json: expected {context_length} ids a text (context_length in bundle.yaml), got {length}; "
                "configure padding and truncation in the file"
            )

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Ids of the texts: (N, context_length) int64."""
        if not texts:
            return np.zeros((0, self._context_length), np.int64)
        return np.array([encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))], np.int64)
