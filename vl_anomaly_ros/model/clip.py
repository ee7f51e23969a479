# SPDX-License-Identifier: Apache-2.0
"""A small CLIP: open_clip's `CLIP` class around a convolutional image tower with useful dense features.

The image embedding is the mean of the dense features by construction (average pooling, then one linear
projection without bias, and both are linear), so pooling dense features under a mask gives the embedding of
that region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar

import timm
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name everyone knows)

from vl_anomaly_ros.errors import TrainingError

TOWER_NAME = "vl_anomaly_pyramid"


@dataclass(frozen=True)
class ClipConfig:
    """Size of the CLIP model.

    Raises:
        TrainingError: the first stage is so narrow that PyTorch 2.14 may hang: the backward pass of oneDNN 3.12 never
            ends at a strided 1x1 convolution of 4 channels on processors with AVX2 alone; 8 are fine.
    """

    embedding_size: int = 128
    vision_widths: tuple[int, ...] = (32, 64, 96, 160)
    vision_fusion_width: int = 96
    text_width: int = 128
    text_heads: int = 4
    text_layers: int = 3
    context_length: int = 16

    def __post_init__(self) -> None:
        if not self.vision_widths or self.vision_widths[0] < 16:
            raise TrainingError(f"clip.vision_widths: expected a first width of 16 or more, got {self.vision_widths}")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self)


class _Block(nn.Module):
    """Residual block of two 3x3 convolutions with batch normalisation."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            self.skip = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(y)) + self.skip(x))


class PyramidTower(nn.Module):
    """Image tower in timm's interface: stages at strides 4, 8, 16, 32, summed back to stride 4."""

    default_cfg: ClassVar[dict[str, Any]] = {"architecture": TOWER_NAME}

    def __init__(self, widths: Sequence[int] = (32, 64, 96, 160), fusion_width: int = 96) -> None:
        super().__init__()
        self.num_features = fusion_width
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0] // 2, 3, 2, 1, bias=False),
            nn.BatchNorm2d(widths[0] // 2),
            nn.ReLU(),
            _Block(widths[0] // 2, widths[0], 2),
        )
        self.stages = nn.ModuleList(nn.Sequential(_Block(a, b, 2), _Block(b, b, 1)) for a, b in pairwise(widths))
        self.laterals = nn.ModuleList(nn.Conv2d(width, fusion_width, 1) for width in widths)
        self.fuse = nn.Sequential(
            nn.Conv2d(fusion_width, fusion_width, 3, 1, 1, bias=False), nn.BatchNorm2d(fusion_width), nn.ReLU()
        )

    def reset_classifier(self, num_classes: int, global_pool: str = "avg") -> None:
        """Accept timm's call; the tower has no classifier of its own."""

    def forward_features(self, image: Tensor) -> Tensor:
        """Return features [B, fusion_width, H/4, W/4] of a normalised image [B, 3, H, W]."""
        levels = [self.stem(image)]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        top = self.laterals[-1](levels[-1])
        for lateral, level in zip(reversed(self.laterals[:-1]), reversed(levels[:-1]), strict=True):
            side = lateral(level)
            top = side + F.interpolate(top, size=side.shape[-2:], mode="bilinear", align_corners=False)
        fused: Tensor = self.fuse(F.relu(top))
        return fused

    def forward(self, image: Tensor) -> Tensor:
        """Return the pooled features [B, fusion_width]."""
        return self.forward_features(image).mean(dim=(-2, -1))


@register_model
def vl_anomaly_pyramid(pretrained: bool = False, **kwargs: Any) -> PyramidTower:  # noqa: ARG001  (timm's signature)
    """Build the tower for timm's registry."""
    sizes = {key: kwargs[key] for key in ("widths", "fusion_width") if key in kwargs}
    return PyramidTower(**sizes)


def build_clip(config: ClipConfig, vocab_size: int) -> CLIP:
    """Build an untrained CLIP.

    Args:
        config: sizes.
        vocab_size: rows of the token embedding, learned-context tokens included.
    """
    vision = CLIPVisionCfg(timm_model_name=TOWER_NAME, timm_pool="avg", timm_proj="linear", image_size=64)
    text = CLIPTextCfg(
        context_length=config.context_length,
        vocab_size=vocab_size,
        width=config.text_width,
        heads=config.text_heads,
        layers=config.text_layers,
        pool_type="eos",
        eos_id=2,
    )
    model = CLIP(config.embedding_size, vision, text)
    # open_clip passes no sizes through to timm, so the tower of the wanted size is put in here.
    model.visual.trunk = timm.create_model(
        TOWER_NAME, widths=config.vision_widths, fusion_width=config.vision_fusion_width
    )
    model.visual.head.proj = nn.Linear(config.vision_fusion_width, config.embedding_size, bias=False)
    return model


def dense_features(clip: CLIP, image: Tensor) -> Tensor:
    """Return CLIP's dense features [B, D, H/4, W/4], not normalised; their mean is the image embedding."""
    features = clip.visual.trunk.forward_features(image)
    weight = clip.visual.head.proj.weight
    return F.conv2d(features, weight[:, :, None, None])


def encode_tokens(clip: CLIP, tokens: Tensor, replaced: dict[int, Tensor] | None = None) -> Tensor:
    """Return unit text embeddings [N, D].

    Args:
        clip: the model.
        tokens: [N, L] int64.
        replaced: token id -> embedding row [text width] used instead of the stored one (learned contexts).
    """
    x = clip.token_embedding(tokens)
    for token_id, row in (replaced or {}).items():
        x = torch.where((tokens == token_id)[..., None], row.to(x.dtype), x)
    x = clip.transformer(x + clip.positional_embedding, attn_mask=clip.attn_mask)
    end = (tokens == clip.text_eos_id).int().argmax(dim=-1)
    pooled = clip.ln_final(x)[torch.arange(tokens.shape[0]), end] @ clip.text_projection
    return F.normalize(pooled, dim=-1)


def freeze(module: nn.Module) -> None:
    """Stop gradients and batch statistics of a module for good."""
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)


class TextEncoder(nn.Module):
    """What text.onnx computes: tokens int64 [N, L] -> unit embeddings [N, D]."""

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode token ids."""
        return encode_tokens(self.clip, tokens)
