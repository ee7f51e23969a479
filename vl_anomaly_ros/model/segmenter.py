# SPDX-License-Identifier: Apache-2.0
"""The mask-classification segmenter: `transformers`' Mask2Former with a small ResNet backbone.

Source: Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig
from transformers.models.mask2former import modeling_mask2former


@dataclass(frozen=True)
class SegmenterConfig:
    """Size of the segmenter."""

    stem_width: int = 32
    backbone_widths: tuple[int, ...] = (32, 64, 96, 160)
    backbone_depths: tuple[int, ...] = (2, 2, 2, 2)
    hidden_size: int = 64
    feedforward_size: int = 128
    pixel_decoder_layers: int = 1
    query_decoder_layers: int = 4
    heads: int = 4
    queries: int = 32

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self)


class SegmenterOutput(NamedTuple):
    """One forward pass; the lists run over the decoder's layers, the last entry is the prediction."""

    mask_logits: list[Tensor]  # each [B, Q, H/4, W/4]
    class_logits: list[Tensor]  # each [B, Q, K+1], last column = no object
    queries: Tensor  # [B, Q, hidden]
    pixels: Tensor  # [B, hidden, H/4, W/4]


class Mask2Former(nn.Module):
    """Mask2Former that also hands out query and pixel features for the PL-Aligner."""

    def __init__(self, network: Mask2FormerForUniversalSegmentation) -> None:
        super().__init__()
        use_input_precision_in_deformable_attention()
        self.network = network

    def forward(self, image: Tensor) -> SegmenterOutput:
        """Segment a normalised image [B, 3, H, W] whose sides are multiples of 32."""
        out = self.network.model(pixel_values=image, output_hidden_states=True)
        states = [state.transpose(0, 1) for state in out.transformer_decoder_intermediate_states]
        return SegmenterOutput(
            mask_logits=list(out.masks_queries_logits),
            class_logits=[self.network.class_predictor(state) for state in states],
            queries=states[-1],
            pixels=out.pixel_decoder_last_hidden_state,
        )


class Segmenter(Mask2Former):
    """A small Mask2Former, to be trained here."""

    def __init__(self, config: SegmenterConfig, num_classes: int) -> None:
        backbone = ResNetConfig(
            embedding_size=config.stem_width,
            hidden_sizes=list(config.backbone_widths),
            depths=list(config.backbone_depths),
            layer_type="basic",
            out_features=["stage1", "stage2", "stage3", "stage4"],
        )
        super().__init__(
            Mask2FormerForUniversalSegmentation(
                Mask2FormerConfig(
                    backbone_config=backbone,
                    feature_size=config.hidden_size,
                    mask_feature_size=config.hidden_size,
                    hidden_dim=config.hidden_size,
                    encoder_feedforward_dim=config.feedforward_size,
                    dim_feedforward=config.feedforward_size,
                    encoder_layers=config.pixel_decoder_layers,
                    decoder_layers=config.query_decoder_layers,
                    num_attention_heads=config.heads,
                    num_queries=config.queries,
                    num_labels=num_classes,
                )
            )
        )


def use_input_precision_in_deformable_attention() -> None:
    """Keep deformable attention in the values' type, with its reference points as a constant.

    `transformers` makes the points by a double-precision ramp and divides the offsets by an integer tensor; traced into
    ONNX, that is float64, which TensorRT does not have, which doubles the memory traffic, and which grid sampling
    refuses for bfloat16 values.
    """
    original = modeling_mask2former.multi_scale_deformable_attention
    if getattr(original, "casts_grid", False):
        return

    def cast_then_attend(value: Tensor, shapes: Any, locations: Tensor, weights: Tensor) -> Tensor:
        return original(value, shapes, locations.to(value.dtype), weights.to(value.dtype))

    cast_then_attend.casts_grid = True  # type: ignore[attr-defined]
    modeling_mask2former.multi_scale_deformable_attention = cast_then_attend
    modeling_mask2former.Mask2FormerPixelDecoderEncoderOnly.get_reference_points = staticmethod(_reference_points)


def _reference_points(shapes: Any, valid_ratios: Tensor, device: Any) -> Tensor:
    """Return the centre of each cell of each level in 0..1, x first: [1, N, L, 2]; whole images have no padding."""
    levels = []
    for height, width in ((int(h), int(w)) for h, w in shapes):
        y, x = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
        levels.append(np.stack([x.ravel(), y.ravel()], axis=-1))
    points = np.repeat(np.concatenate(levels)[None, :, None], len(levels), axis=2)
    return torch.from_numpy(points.astype(np.float32)).to(device, valid_ratios.dtype)


def semantic_probabilities(output: SegmenterOutput) -> Tensor:
    """Return P(k|x) = sum_q c_q(k) M_q(x), clipped to 1: [B, K, H/4, W/4]."""
    classes = output.class_logits[-1].softmax(-1)[..., :-1]
    masks = output.mask_logits[-1].sigmoid()
    return torch.einsum("bqk,bqhw->bkhw", classes, masks).clamp(max=1.0)
