# SPDX-License-Identifier: Apache-2.0
"""A small BPE tokenizer in the `tokenizers` library's format, trained on the caption corpus."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unk>"
ALPHABET = list("abcdefghijklmnopqrstuvwxyz0123456789-'.,")


def context_tokens(count: int) -> list[str]:
    """Return the names of the learned-context tokens."""
    return [f"<ctx{i}>" for i in range(count)]


def train_tokenizer(corpus: Iterable[str], context_length: int, contexts: int, vocab_size: int = 3000) -> Tokenizer:
    """Train a tokenizer that pads and truncates to `context_length`.

    Ids: <pad> 0, <start> 1, <end> 2, <unk> 3, then the learned contexts. Lower case; every letter of the
    alphabet is a token, so any ordinary word can be written.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, START, END, UNKNOWN, *context_tokens(contexts)],
        initial_alphabet=ALPHABET,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 1), (END, 2)]
    )
    tokenizer.enable_truncation(max_length=context_length)
    tokenizer.enable_padding(length=context_length, pad_id=0, pad_token=PAD)
    return tokenizer
