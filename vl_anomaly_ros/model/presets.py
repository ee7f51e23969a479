# SPDX-License-Identifier: Apache-2.0
"""The published networks that bundles can be made of, as small descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""The 19 classes that Cityscapes is evaluated on, in the order of their training ids."""


@dataclass(frozen=True)
class Backbone:
    """Swin Transformer sizes, as `backbone_config` of a transformers checkpoint gives them."""

    embed_dim: int
    depths: tuple[int, ...]


@dataclass(frozen=True)
class FcClipSizes:
    """Sizes of FC-CLIP's decoders; the defaults are those of its published configurations.

    Attributes:
        hidden_size: width of the pixel decoder, the query decoder and the mask features.
        queries: number of object queries.
        heads: of every attention.
        pixel_layers: deformable-attention layers of the pixel decoder.
        pixel_feedforward_size: of those layers.
        query_layers: layers of the query decoder.
        query_feedforward_size: of those layers.
    """

    hidden_size: int = 256
    queries: int = 250
    heads: int = 8
    pixel_layers: int = 6
    pixel_feedforward_size: int = 1024
    query_layers: int = 9
    query_feedforward_size: int = 2048


@dataclass(frozen=True)
class Preset:
    """What a bundle of published networks is made of.

    Attributes:
        clip: open_clip's name of the architecture.
        backbone: of the Mask2Former; None: FC-CLIP's decoders on CLIP itself.
        fcclip: sizes of those decoders.
        classes: what the detector distinguishes.
        width_px, height_px: network size unless another is asked for.
        summary: one line for people.
    """

    clip: str
    summary: str
    backbone: Backbone | None = None
    fcclip: FcClipSizes = FcClipSizes()
    classes: tuple[str, ...] = CITYSCAPES
    width_px: int = 1024
    height_px: int = 512


PRESETS: Mapping[str, Preset] = {
    "swin_b-vit_b_16": Preset(
        clip="ViT-B-16",
        backbone=Backbone(128, (2, 2, 18, 2)),
        summary="Mask2Former Swin-B (Cityscapes) and CLIP ViT-B/16",
    ),
    "swin_l-vit_l_14": Preset(
        clip="ViT-L-14",
        backbone=Backbone(192, (2, 2, 18, 2)),
        summary="Mask2Former Swin-L (Cityscapes) and CLIP ViT-L/14",
    ),
    "fcclip-convnext_large_d_320": Preset(
        clip="convnext_large_d_320", summary="FC-CLIP ConvNeXt-L on CLIP convnext_large_d_320"
    ),
}
"""By the name that `vl-anomaly export --preset` takes."""
