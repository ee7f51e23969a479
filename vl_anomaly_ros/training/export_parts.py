# SPDX-License-Identifier: Apache-2.0
"""A preset and local weight files to the modules that a bundle is exported from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from open_clip.model import CLIP
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name everyone knows)

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.model.aligner import PLAligner
from vl_anomaly_ros.model.aligner_weights import load_aligner
from vl_anomaly_ros.model.checkpoint import load_strictly
from vl_anomaly_ros.model.clip import encode_tokens
from vl_anomaly_ros.model.dense_clip import DenseConvNext, dense_clip
from vl_anomaly_ros.model.fcclip_weights import load_fcclip
from vl_anomaly_ros.model.mask2former_weights import load_mask2former
from vl_anomaly_ros.model.open_clip_weights import extend_vocabulary, load_clip
from vl_anomaly_ros.model.presets import Preset
from vl_anomaly_ros.model.published_visual import FcClipVisual, Mask2FormerVisual, Normalise
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.training.export import PROMPT_TEMPLATES
from vl_anomaly_ros.training.segment_task import learned_prompt
from vl_anomaly_ros.training.tokenizer import open_clip_tokenizer

PLAIN_PROMPT = "a photo of a {}."
_CHUNK_BYTES = 1 << 24
NO_ALIGNER_MASKS = (
    "No PL-Aligner: its text score compares hand-written prompts with CLIP's own dense features at each pixel, pooled "
    "under each mask."
)
NO_ALIGNER_FCCLIP = (
    "No PL-Aligner: its text score compares hand-written prompts with FC-CLIP's mask embeddings and, at each pixel, "
    "with CLIP's own dense features."
)


@dataclass(frozen=True)
class Sources:
    """Local weight files.

    Attributes:
        segmenter: folder of a Mask2Former in the layout of `transformers`.
        clip: open_clip's checkpoint, file or folder.
        fcclip: FC-CLIP's checkpoint.
        aligner: PL-Aligner as training saves it.
        quick_gelu: CLIP was trained with the approximate GELU.
    """

    segmenter: Path | None = None
    clip: Path | None = None
    fcclip: Path | None = None
    aligner: Path | None = None
    quick_gelu: bool = False


@dataclass(frozen=True)
class Parts:
    """What the graphs are exported from, but for the visual network, which is large and given apart.

    Attributes:
        clip: for its text tower.
        tokenizer: of CLIP, with the learned contexts.
        classes: of the detector, in the order of its class logits.
        mean, std: RGB, 0..1, of the detector.
        learned_prompt: text with a slot for the word.
        provenance: what it was made of.
    """

    clip: CLIP
    tokenizer: Tokenizer
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    learned_prompt: str
    provenance: str

    @property
    def embedding_size(self) -> int:
        """D."""
        return int(self.clip.text_projection.shape[1])

    @property
    def context_length(self) -> int:
        """Token ids a text."""
        return int(self.clip.positional_embedding.shape[0])

    @property
    def logit_scale(self) -> float:
        """CLIP's factor from cosine to logit."""
        return float(self.clip.logit_scale.detach().exp())

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings [N, D]."""
        return encode_texts(self.clip, self.tokenizer, texts)


def assemble(
    preset: Preset, sources: Sources, vocabulary: Vocabulary, width_px: int, height_px: int
) -> tuple[nn.Module, Parts]:
    """Return the visual network and the rest, with the weights loaded whole.

    Raises:
        TrainingError: a file that the preset needs is not given, one that it does not need is, or one does not fit.
    """
    if preset.backbone is None:
        return _fcclip(preset, sources, vocabulary)
    return _mask2former(preset, sources, width_px, height_px)


def encode_texts(clip: CLIP, tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Return unit embeddings [N, D]."""
    tokens = torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(list(texts))])
    with torch.no_grad():
        return encode_tokens(clip, tokens)


def _mask2former(preset: Preset, sources: Sources, width_px: int, height_px: int) -> tuple[nn.Module, Parts]:
    if preset.backbone is None or sources.segmenter is None or sources.clip is None or sources.fcclip is not None:
        raise TrainingError(f"{preset.summary}: expected --segmenter and --clip, without --fcclip; give both files")
    segmenter = load_mask2former(sources.segmenter, preset.backbone, preset.classes)
    clip = load_clip(sources.clip, preset.clip, quick_gelu=sources.quick_gelu)
    aligner, trained, note = _aligner(sources, int(segmenter.module.network.config.hidden_dim), clip.model)
    if trained:
        load_strictly(segmenter.module, trained, f"{sources.aligner}: the segmenter in it")
    # Before the token embedding grows: the image tower does not see it.
    network = Mask2FormerVisual(
        segmenter.module, Normalise(segmenter.mean, segmenter.std), dense_clip(clip.model, height_px, width_px),
        Normalise(clip.mean, clip.std), aligner,
    )  # fmt: skip
    notes = (*segmenter.notes, *clip.notes, note or NO_ALIGNER_MASKS, *_hashes(sources))
    return network.eval(), _parts(clip.model, aligner, segmenter.classes, segmenter.mean, segmenter.std, notes)


def _fcclip(preset: Preset, sources: Sources, vocabulary: Vocabulary) -> tuple[nn.Module, Parts]:
    if sources.fcclip is None or sources.segmenter is not None or sources.quick_gelu:
        raise TrainingError(f"{preset.summary}: expected --fcclip, without --segmenter and --quick-gelu; give it")
    published = load_fcclip(sources.fcclip, sources.clip, preset.clip, preset.fcclip)
    clip = published.clip
    aligner, trained, note = _aligner(sources, preset.fcclip.hidden_size, clip.model)
    if trained:
        load_strictly(published.decoders, trained, f"{sources.aligner}: the decoders in it")
    parts = _parts(
        clip.model, aligner, preset.classes, clip.mean, clip.std,
        (*published.notes, note or NO_ALIGNER_FCCLIP, *_hashes(sources)),
    )  # fmt: skip
    network = FcClipVisual(
        DenseConvNext(clip.model.visual), published.decoders, Normalise(clip.mean, clip.std),
        class_embeddings(parts, vocabulary), aligner,
    )  # fmt: skip
    return network.eval(), parts


def class_embeddings(parts: Parts, vocabulary: Vocabulary) -> Tensor:
    """Return [K, S, D] unit text embeddings of the detector's classes, for FC-CLIP's classifier.

    Source: FC-CLIP averages the templates of a word and takes the best word of a class. The words are the vocabulary's
    name and synonyms, a class of fewer repeats its name; the templates are this project's, not FC-CLIP's.
    """
    words_of = {known.name.casefold(): known.words for known in vocabulary.known}
    words = [words_of.get(name.casefold(), (name,)) for name in parts.classes]
    most = max(map(len, words))
    rows = []
    for group in words:
        padded = [*group, *[group[0]] * (most - len(group))]
        texts = [template.format(word) for word in padded for template in PROMPT_TEMPLATES]
        rows.append(parts.encode(texts).unflatten(0, (most, len(PROMPT_TEMPLATES))).mean(1))
    return F.normalize(torch.stack(rows), dim=-1)


def _aligner(sources: Sources, hidden_size: int, clip: CLIP) -> tuple[PLAligner | None, dict[str, Tensor], str]:
    """The aligner, its segmenter's weights and a note; its contexts become rows of CLIP's token embedding."""
    if sources.aligner is None:
        return None, {}, ""
    ids, width = clip.token_embedding.weight.shape
    aligner, trained = load_aligner(
        sources.aligner, hidden_size, int(clip.text_projection.shape[1]), int(width), int(ids)
    )
    extend_vocabulary(clip, aligner.contexts.detach())
    with_segmenter = ", with the segmenter's weights that it was trained with" if trained else ""
    return aligner, trained, f"PL-Aligner from {sources.aligner.name}{with_segmenter}"


def _parts(
    clip: CLIP, aligner: PLAligner | None, classes: tuple[str, ...], mean: tuple[float, ...], std: tuple[float, ...],
    notes: Sequence[str],
) -> Parts:  # fmt: skip
    contexts = len(aligner.context_ids) if aligner else 0
    return Parts(
        clip=clip,
        tokenizer=open_clip_tokenizer(int(clip.positional_embedding.shape[0]), contexts),
        classes=classes,
        mean=mean,
        std=std,
        learned_prompt=learned_prompt(contexts) if contexts else PLAIN_PROMPT,
        provenance="\n".join(notes),
    )


def _hashes(sources: Sources) -> list[str]:
    """A line for each weight file, so that a bundle can be traced to what it was made of."""
    given = [p for p in (sources.segmenter, sources.clip, sources.fcclip, sources.aligner) if p is not None]
    files = [file for p in given for file in (sorted(p.iterdir()) if p.is_dir() else [p]) if file.is_file()]
    lines = []
    for file in files:
        digest = hashlib.sha256()
        with file.open("rb") as content:
            while chunk := content.read(_CHUNK_BYTES):
                digest.update(chunk)
        lines.append(f"{file.name}: SHA-256 {digest.hexdigest()}")
    return lines
