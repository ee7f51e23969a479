# SPDX-License-Identifier: Apache-2.0
"""BPE tokenizers in the `tokenizers` library's format: a small one trained on the caption corpus, and open_clip's."""

from __future__ import annotations

from collections.abc import Iterable

from open_clip.tokenizer import SimpleTokenizer
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unk>"
OPEN_CLIP_START, OPEN_CLIP_END = "<start_of_text>", "<end_of_text>"
OPEN_CLIP_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
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


def open_clip_tokenizer(context_length: int, contexts: int = 0) -> Tokenizer:
    """Return open_clip's tokenizer for CLIP, with the same ids, in a form that needs no open_clip.

    open_clip first repairs the text with `ftfy` and resolves HTML entities. Of that, what plain words and prompts can
    hold is done here too: composed accents, straight quotes, spaces. Entities such as `&amp;` are not resolved.

    Args:
        context_length: ids a text; shorter ones are padded with 0, longer ones cut before the end token.
        contexts: how many learned-context tokens follow the published ids.
    """
    published = SimpleTokenizer(context_length=context_length)
    merges = sorted(published.bpe_ranks, key=published.bpe_ranks.__getitem__)
    tokenizer = Tokenizer(
        models.BPE(vocab=published.encoder, merges=merges, end_of_word_suffix="</w>", continuing_subword_prefix="")
    )
    quotes = {"\u2018": "'", "\u2019": "'", "\u201b": "'", "\u201c": '"', "\u201d": '"', "\u201f": '"'}
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            *(normalizers.Replace(curly, straight) for curly, straight in quotes.items()),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(OPEN_CLIP_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    names = [OPEN_CLIP_START, OPEN_CLIP_END, *context_tokens(contexts)]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{OPEN_CLIP_START} $A {OPEN_CLIP_END}",
        special_tokens=[(name, published.encoder[name]) for name in (OPEN_CLIP_START, OPEN_CLIP_END)],
    )
    tokenizer.enable_truncation(max_length=context_length)
    tokenizer.enable_padding(length=context_length, pad_id=0, pad_token="!")  # noqa: S106  (the token of id 0)
    return tokenizer
