# SPDX-License-Identifier: Apache-2.0
"""Dense features in CLIP's text space from its published image towers, frozen, at a fixed image size."""

from __future__ import annotations

import torch
from open_clip.model import CLIP
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name everyone knows)

from vl_anomaly_ros.errors import TrainingError


class DenseViT(nn.Module):
    """A ViT's patch tokens in text space, without the last block's attention.

    Source: Zhou et al., "Extract Free Dense Labels from CLIP" (MaskCLIP), ECCV 2022. In the last block the attention
    is replaced by its value and output projections applied to each token; the block's residuals and feed-forward
    layer stay, then come the final normalisation and projection as for the image embedding. The position embedding is
    interpolated (bicubic) from the training grid to the grid of this size, once, so that the graph holds a constant.

    Args:
        visual: image tower of CLIP; its modules are used, not copied.
        height_px, width_px: of the image. Sides that are no multiples of the patch are resized to the nearest one.
    """

    position: Tensor
    value_weight: Tensor
    value_bias: Tensor

    def __init__(self, visual: VisionTransformer, height_px: int, width_px: int) -> None:
        super().__init__()
        if visual.attn_pool is not None or visual.final_ln_after_pool:
            raise TrainingError("CLIP: expected a ViT with a class token, got one with attention pooling")
        self.patches = visual.conv1
        self.grid = tuple(max(1, round(s / p)) for s, p in zip((height_px, width_px), visual.patch_size, strict=True))
        self.size = tuple(g * p for g, p in zip(self.grid, visual.patch_size, strict=True))
        self.register_buffer("class_token", visual.class_embedding.detach().view(1, 1, -1))
        self.register_buffer("position", _resized_position(visual, self.grid))
        self.before, self.after = visual.ln_pre, visual.ln_post
        *blocks, self.last = visual.transformer.resblocks
        self.blocks = nn.ModuleList(blocks)
        width = visual.conv1.out_channels
        self.register_buffer("value_weight", self.last.attn.in_proj_weight.detach()[2 * width :].clone())
        self.register_buffer("value_bias", self.last.attn.in_proj_bias.detach()[2 * width :].clone())
        self.register_buffer("projection", visual.proj.detach())

    def forward(self, image: Tensor) -> Tensor:
        """Map a normalised image [1, 3, H, W] to features [1, D, hc, wc], not of unit length."""
        if tuple(image.shape[-2:]) != self.size:
            image = F.interpolate(image, size=self.size, mode="bilinear", align_corners=False)
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = self.before(torch.cat([self.class_token, x], dim=1) + self.position)
        for block in self.blocks:
            x = block(x)
        values = F.linear(self.last.ln_1(x), self.value_weight, self.value_bias)
        x = x + self.last.ls_1(self.last.attn.out_proj(values))
        x = x + self.last.ls_2(self.last.mlp(self.last.ln_2(x)))
        features = self.after(x)[:, 1:] @ self.projection
        return features.transpose(1, 2).unflatten(2, self.grid)


class DenseConvNext(nn.Module):
    """A ConvNeXt's last feature map in text space: normalisation and projection applied at each place.

    Source: Yu et al., "Convolutions Die Hard: Open-Vocabulary Segmentation with Single Frozen Convolutional CLIP"
    (FC-CLIP), NeurIPS 2023. They pool the last feature map under a mask and project the mean; here each place is
    projected, and the head pools what was projected, because the bundle's features are in text space.

    Args:
        visual: image tower of CLIP; its modules are used, not copied.
    """

    def __init__(self, visual: TimmModel) -> None:
        super().__init__()
        trunk = visual.trunk
        if not (hasattr(trunk, "stages") and hasattr(trunk.head, "norm") and isinstance(trunk.head.fc, nn.Identity)):
            raise TrainingError("CLIP: expected a ConvNeXt of timm without a classifier, got another image tower")
        self.stem, self.stages, self.norm_before = trunk.stem, trunk.stages, trunk.norm_pre
        self.norm, self.before_projection, self.projection = trunk.head.norm, trunk.head.pre_logits, visual.head
        self.channels = [info["num_chs"] for info in trunk.feature_info]

    def levels(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps of a normalised image at strides 4, 8, 16 and 32."""
        x = self.stem(image)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def project(self, top: Tensor) -> Tensor:
        """Map the last feature map [1, C, hc, wc] to features [1, D, hc, wc], not of unit length."""
        x = self.before_projection(self.norm(self.norm_before(top)))
        features: Tensor = self.projection(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return features

    def forward(self, image: Tensor) -> Tensor:
        """Map a normalised image [1, 3, H, W] to features [1, D, H/32, W/32]."""
        return self.project(self.levels(image)[-1])


def dense_clip(clip: CLIP, height_px: int, width_px: int) -> nn.Module:
    """Return the tower's dense features as a module: normalised image [1, 3, H, W] -> [1, D, hc, wc].

    Raises:
        TrainingError: the image tower is of another kind.
    """
    if isinstance(clip.visual, VisionTransformer):
        return DenseViT(clip.visual, height_px, width_px).eval()
    if isinstance(clip.visual, TimmModel):
        return DenseConvNext(clip.visual).eval()
    raise TrainingError(f"CLIP: expected a ViT or a ConvNeXt, got {type(clip.visual).__name__}")


def _resized_position(visual: VisionTransformer, grid: tuple[int, ...]) -> Tensor:
    """Position embedding [1, 1 + hc * wc, width] for another grid; the class token's is kept."""
    stored = visual.positional_embedding.detach().float()
    first, rest = stored[:1], stored[1:]
    maps = rest.T.unflatten(1, visual.grid_size)[None]
    if tuple(visual.grid_size) != tuple(grid):
        maps = F.interpolate(maps, size=grid, mode="bicubic", align_corners=False, antialias=True)
    return torch.cat([first, maps[0].flatten(1).T])[None]
