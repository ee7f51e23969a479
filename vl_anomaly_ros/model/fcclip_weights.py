# SPDX-License-Identifier: Apache-2.0
"""FC-CLIP's published checkpoint (detectron2's layout) for our module: every key has a place, or is refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.model.checkpoint import load_strictly, read_state, without
from vl_anomaly_ros.model.dense_clip import DenseConvNext
from vl_anomaly_ros.model.fcclip import FcClip
from vl_anomaly_ros.model.open_clip_weights import PublishedClip, build_clip, load_clip, load_clip_state
from vl_anomaly_ros.model.presets import FcClipSizes

IGNORED = {r"criterion\..*": "weights of the training loss", "pixel_mean|pixel_std": "stand in the configuration"}
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""PIXEL_MEAN and PIXEL_STD of its configurations, divided by 255: CLIP's own."""
CLIP_PREFIX = "backbone.clip_model."

_PIXEL, _QUERY = r"sem_seg_head\.pixel_decoder\.", r"sem_seg_head\.predictor\."
_PIXEL_LAYER = r"transformer\.encoder\.layers\.(\d+)\."
# Pattern of a published key -> ours. The names of the published keys are those of Mask2Former's own code.
_RENAMED = (
    (_PIXEL + r"input_proj\.(.+)", r"pixel_decoder.input_projections.\1"),
    (_PIXEL + r"transformer\.level_embed", "pixel_decoder.level_embed"),
    (_PIXEL + _PIXEL_LAYER + r"self_attn\.(.+)", r"pixel_decoder.encoder.layers.\1.self_attn.\2"),
    (_PIXEL + _PIXEL_LAYER + r"norm1\.(.+)", r"pixel_decoder.encoder.layers.\1.self_attn_layer_norm.\2"),
    (_PIXEL + _PIXEL_LAYER + r"linear([12])\.(.+)", r"pixel_decoder.encoder.layers.\1.fc\2.\3"),
    (_PIXEL + _PIXEL_LAYER + r"norm2\.(.+)", r"pixel_decoder.encoder.layers.\1.final_layer_norm.\2"),
    (_PIXEL + r"mask_features\.(.+)", r"pixel_decoder.mask_projection.\1"),
    (_PIXEL + r"(adapter|layer)_(\d+)\.norm\.(.+)", r"pixel_decoder.\1_\2.1.\3"),
    (_PIXEL + r"(adapter|layer)_(\d+)\.weight", r"pixel_decoder.\1_\2.0.weight"),
    (
        _QUERY + r"transformer_self_attention_layers\.(\d+)\.self_attn\.out_proj\.(.+)",
        r"query_decoder.decoder.layers.\1.self_attn.out_proj.\2",
    ),
    (
        _QUERY + r"transformer_self_attention_layers\.(\d+)\.norm\.(.+)",
        r"query_decoder.decoder.layers.\1.self_attn_layer_norm.\2",
    ),
    (
        _QUERY + r"transformer_cross_attention_layers\.(\d+)\.multihead_attn\.(.+)",
        r"query_decoder.decoder.layers.\1.cross_attn.\2",
    ),
    (
        _QUERY + r"transformer_cross_attention_layers\.(\d+)\.norm\.(.+)",
        r"query_decoder.decoder.layers.\1.cross_attn_layer_norm.\2",
    ),
    (_QUERY + r"transformer_ffn_layers\.(\d+)\.linear([12])\.(.+)", r"query_decoder.decoder.layers.\1.fc\2.\3"),
    (_QUERY + r"transformer_ffn_layers\.(\d+)\.norm\.(.+)", r"query_decoder.decoder.layers.\1.final_layer_norm.\2"),
    (_QUERY + r"decoder_norm\.(.+)", r"query_decoder.decoder.layernorm.\1"),
    (_QUERY + r"query_feat\.(.+)", r"query_decoder.queries_features.\1"),
    (_QUERY + r"query_embed\.(.+)", r"query_decoder.queries_embedder.\1"),
    (_QUERY + r"level_embed\.(.+)", r"query_decoder.level_embed.\1"),
    (
        _QUERY + r"mask_embed\.layers\.(\d+)\.(.+)",
        r"query_decoder.decoder.mask_predictor.mask_embedder.\1.0.\2",
    ),
    (_QUERY + r"_mask_pooling_proj\.(.+)", r"pooled_projection.\1"),
    (_QUERY + r"class_embed\.layers\.(\d+)\.(.+)", r"class_embedder.\1.0.\2"),
    (_QUERY + r"logit_scale", "logit_scale"),
    (r"void_embedding\.weight", "void_embedding"),
)
_JOINED = re.compile(_QUERY + r"transformer_self_attention_layers\.(\d+)\.self_attn\.in_proj_(weight|bias)")


@dataclass(frozen=True)
class PublishedFcClip:
    """FC-CLIP as it was published.

    Attributes:
        decoders: its own part.
        clip: the CLIP below it, with the normalisation of both.
        notes: for the bundle's provenance.
    """

    decoders: FcClip
    clip: PublishedClip
    notes: tuple[str, ...]


def load_fcclip(path: Path, clip_path: Path | None, architecture: str, sizes: FcClipSizes) -> PublishedFcClip:
    """Return FC-CLIP with the weights of `path`.

    Args:
        path: detectron2 checkpoint.
        clip_path: open_clip's weights where the checkpoint was saved without its frozen CLIP; else None.
        architecture: of CLIP, by open_clip's name.
        sizes: of the decoders.

    Raises:
        TrainingError: weights are missing, left over or of another shape; every such key is named.
    """
    state, notes = without(read_state(path), IGNORED)
    inside = {k.removeprefix(CLIP_PREFIX): state.pop(k) for k in list(state) if k.startswith(CLIP_PREFIX)}
    if inside and clip_path is not None:
        raise TrainingError(f"{path}: holds CLIP already; leave out the separate CLIP weights {clip_path}")
    if not inside and clip_path is None:
        raise TrainingError(f"{path}: expected CLIP under {CLIP_PREFIX}, got none; name CLIP's weights beside it")
    if clip_path is not None:
        clip = load_clip(clip_path, architecture)
    else:
        model = build_clip(architecture)
        clip = PublishedClip(model, MEAN, STD, tuple(load_clip_state(model, inside, str(path))))
    decoders = FcClip(sizes, DenseConvNext(clip.model.visual).channels, int(clip.model.text_projection.shape[1]))
    load_strictly(decoders, from_detectron2(state), str(path))
    return PublishedFcClip(decoders.eval(), clip, (f"FC-CLIP from {path.name}", *notes, *clip.notes))


def from_detectron2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under our names; a key without a place keeps its name, so that loading refuses it.

    The query decoder's self-attention holds query, key and value apart, the published one in one matrix.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if (joined := _JOINED.fullmatch(key)) and value.shape[0] % 3 == 0:
            layer, kind = joined.groups()
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                renamed[f"query_decoder.decoder.layers.{layer}.self_attn.{letter}_proj.{kind}"] = part
            continue
        for pattern, ours in _RENAMED:
            if match := re.fullmatch(pattern, key):
                renamed[match.expand(ours)] = value
                break
        else:
            renamed[key] = value
    return renamed
