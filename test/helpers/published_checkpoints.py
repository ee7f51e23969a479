# SPDX-License-Identifier: Apache-2.0
"""Random weights in the layouts of published checkpoints: the same files and keys, of any size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from vl_anomaly_ros.model.open_clip_weights import build_clip
from vl_anomaly_ros.model.presets import CITYSCAPES, Backbone, FcClipSizes, Preset

TINY_SWIN = Backbone(8, (1, 1, 2, 1))
TINY_FCCLIP = FcClipSizes(32, 6, 2, 1, 32, 2, 32)
TINY_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
TINY_CLIPS: dict[str, dict[str, Any]] = {
    "tiny-vit": {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 28, "layers": 2, "width": 32, "patch_size": 14, "head_width": 16},
        "text_cfg": TINY_TEXT,
    },
    "tiny-convnext": {
        "embed_dim": 12,
        "vision_cfg": {
            "timm_model_name": "convnext_atto", "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "mlp",
            "timm_drop": 0.0, "timm_drop_path": 0.1, "image_size": 64,
        },
        "text_cfg": TINY_TEXT,
    },
}  # fmt: skip
TINY_SWIN_VIT = Preset(clip="tiny-vit", summary="tiny Swin and ViT", backbone=TINY_SWIN, width_px=128, height_px=64)
TINY_FCCLIP_CONVNEXT = Preset(
    clip="tiny-convnext", summary="tiny FC-CLIP", fcclip=TINY_FCCLIP, width_px=128, height_px=64
)


def register_tiny_clips(folder: Path) -> None:
    """Make open_clip know the tiny architectures."""
    for name, config in TINY_CLIPS.items():
        (folder / f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(folder)


def save_mask2former(folder: Path, backbone: Backbone, *, as_torch: bool = False, **sizes: int) -> Path:
    """Write a Mask2Former Swin as `transformers` publishes it: config.json, weights, preprocessor_config.json.

    The keys are those of the published files, with the constants that older ones repeat.
    """
    heads, window = {8: ((1, 1, 2, 2), 4), 128: ((4, 8, 16, 32), 12), 192: ((6, 12, 24, 48), 12)}[backbone.embed_dim]
    swin = SwinConfig(
        image_size=384, embed_dim=backbone.embed_dim, depths=list(backbone.depths), num_heads=list(heads),
        window_size=window, drop_path_rate=0.3, out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    labels = dict(enumerate(CITYSCAPES))
    config = Mask2FormerConfig(
        backbone_config=swin, id2label=labels, label2id={name: index for index, name in labels.items()}, **sizes
    )
    model = Mask2FormerForUniversalSegmentation(config)
    model.save_pretrained(folder)
    file = folder / "model.safetensors"
    if as_torch:
        state = load_file(file)
        for key in [key for key in state if key.endswith("relative_position_bias_table")]:
            state[key.replace("bias_table", "index")] = torch.zeros(window**2, window**2, dtype=torch.int64)
        torch.save(state, folder / "pytorch_model.bin")
        file.unlink()
    preprocessing = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing), encoding="utf-8")
    return folder


def save_tiny_mask2former(folder: Path, *, as_torch: bool = False) -> Path:
    """Write a Mask2Former of a few thousand parameters."""
    return save_mask2former(
        folder, TINY_SWIN, as_torch=as_torch, feature_size=32, mask_feature_size=32, hidden_dim=32, num_queries=5,
        encoder_feedforward_dim=32, dim_feedforward=32, encoder_layers=1, decoder_layers=3, num_attention_heads=2,
    )  # fmt: skip


def clip_state(architecture: str) -> dict[str, Tensor]:
    """CLIP's random weights under open_clip's keys."""
    return {key: value.contiguous() for key, value in build_clip(architecture).state_dict().items()}


def save_clip(path: Path, architecture: str) -> Path:
    """Write CLIP as open_clip publishes it: a safetensors file, or a torch file for another ending."""
    if path.suffix == ".safetensors":
        save_file(clip_state(architecture), path)
    else:
        torch.save({"epoch": 32, "name": architecture, "state_dict": _of_parallel(clip_state(architecture))}, path)
    return path


def _of_parallel(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{key}": value for key, value in state.items()}


def save_fcclip(path: Path, architecture: str, sizes: FcClipSizes, *, with_clip: bool = True) -> Path:
    """Write FC-CLIP as its authors publish it: a detectron2 checkpoint."""
    torch.save({"model": fcclip_state(architecture, sizes, with_clip=with_clip), "iteration": 368750}, path)
    return path


def fcclip_state(architecture: str, sizes: FcClipSizes, *, with_clip: bool = True) -> dict[str, Tensor]:
    """FC-CLIP's random weights under the keys of its published checkpoint."""
    clip = build_clip(architecture)
    channels = [info["num_chs"] for info in clip.visual.trunk.feature_info]
    embedding_size = int(clip.text_projection.shape[1])
    state = {f"backbone.clip_model.{key}": value for key, value in clip.state_dict().items()} if with_clip else {}
    for key, shape in fcclip_shapes(sizes, channels, embedding_size):
        random = torch.randn(shape) / max(1, shape[-1] if len(shape) == 2 else 1) ** 0.5
        is_norm = len(shape) == 1 and key.endswith("weight")
        state[key] = 1.0 + 0.1 * random if is_norm else 0.1 * random if len(shape) < 2 else random
    state["criterion.empty_weight"] = torch.ones(134)
    state["sem_seg_head.predictor.logit_scale"] = torch.tensor(3.0)
    return state


def fcclip_shapes(
    sizes: FcClipSizes, channels: list[int], embedding_size: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Published keys and shapes of FC-CLIP's own part."""
    hidden, points, levels = sizes.hidden_size, 4, 3

    def layer(name: str, outputs: int, inputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (outputs, inputs)
        yield f"{name}.bias", (outputs,)

    def norm(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (hidden,)
        yield f"{name}.bias", (hidden,)

    pixel = "sem_seg_head.pixel_decoder"
    for index, inputs in enumerate(reversed(channels[1:])):
        yield f"{pixel}.input_proj.{index}.0.weight", (hidden, inputs, 1, 1)
        yield f"{pixel}.input_proj.{index}.0.bias", (hidden,)
        yield from norm(f"{pixel}.input_proj.{index}.1")
    yield f"{pixel}.transformer.level_embed", (levels, hidden)
    for index in range(sizes.pixel_layers):
        at = f"{pixel}.transformer.encoder.layers.{index}"
        yield from layer(f"{at}.self_attn.sampling_offsets", sizes.heads * levels * points * 2, hidden)
        yield from layer(f"{at}.self_attn.attention_weights", sizes.heads * levels * points, hidden)
        yield from layer(f"{at}.self_attn.value_proj", hidden, hidden)
        yield from layer(f"{at}.self_attn.output_proj", hidden, hidden)
        yield from norm(f"{at}.norm1")
        yield from layer(f"{at}.linear1", sizes.pixel_feedforward_size, hidden)
        yield from layer(f"{at}.linear2", hidden, sizes.pixel_feedforward_size)
        yield from norm(f"{at}.norm2")
    yield f"{pixel}.mask_features.weight", (hidden, hidden, 1, 1)
    yield f"{pixel}.mask_features.bias", (hidden,)
    yield f"{pixel}.adapter_1.weight", (hidden, channels[0], 1, 1)
    yield from norm(f"{pixel}.adapter_1.norm")
    yield f"{pixel}.layer_1.weight", (hidden, hidden, 3, 3)
    yield from norm(f"{pixel}.layer_1.norm")

    query = "sem_seg_head.predictor"
    for index in range(sizes.query_layers):
        for kind, attention in (("self", "self_attn"), ("cross", "multihead_attn")):
            at = f"{query}.transformer_{kind}_attention_layers.{index}"
            yield f"{at}.{attention}.in_proj_weight", (3 * hidden, hidden)
            yield f"{at}.{attention}.in_proj_bias", (3 * hidden,)
            yield from layer(f"{at}.{attention}.out_proj", hidden, hidden)
            yield from norm(f"{at}.norm")
        at = f"{query}.transformer_ffn_layers.{index}"
        yield from layer(f"{at}.linear1", sizes.query_feedforward_size, hidden)
        yield from layer(f"{at}.linear2", hidden, sizes.query_feedforward_size)
        yield from norm(f"{at}.norm")
    yield from norm(f"{query}.decoder_norm")
    yield f"{query}.query_feat.weight", (sizes.queries, hidden)
    yield f"{query}.query_embed.weight", (sizes.queries, hidden)
    yield f"{query}.level_embed.weight", (levels, hidden)
    for index in range(3):
        yield from layer(f"{query}.mask_embed.layers.{index}", hidden, hidden)
        yield from layer(f"{query}.class_embed.layers.{index}", embedding_size if index == 2 else hidden, hidden)
    yield from norm(f"{query}._mask_pooling_proj.0")
    yield from layer(f"{query}._mask_pooling_proj.1", hidden, hidden)
    yield f"{query}.logit_scale", ()
    yield "void_embedding.weight", (1, embedding_size)
