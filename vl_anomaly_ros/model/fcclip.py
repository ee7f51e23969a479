# SPDX-License-Identifier: Apache-2.0
"""FC-CLIP: Mask2Former's decoders on the feature maps of a frozen convolutional CLIP.

Source: Yu et al., "Convolutions Die Hard: Open-Vocabulary Segmentation with Single Frozen Convolutional CLIP",
NeurIPS 2023. Pixel and query decoder are `transformers`' Mask2Former modules, which compute the same.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name everyone knows)
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerMLPPredictionHead,
    Mask2FormerPixelDecoder,
    Mask2FormerTransformerModule,
)

from vl_anomaly_ros.model.presets import FcClipSizes
from vl_anomaly_ros.model.segmenter import use_input_precision_in_deformable_attention

_MAX_LOGIT_SCALE = 100.0
_EPS = 1e-8


class FcClipOutput(NamedTuple):
    """One forward pass."""

    mask_logits: Tensor  # [Q, H/4, W/4]
    mask_embeddings: Tensor  # [Q, D] unit, in CLIP's text space
    queries: Tensor  # [1, Q, hidden]
    pixels: Tensor  # [1, hidden, H/4, W/4]


class FcClip(nn.Module):
    """FC-CLIP's own part: everything but CLIP.

    Args:
        sizes: of the decoders.
        channels: of CLIP's feature maps at strides 4, 8, 16, 32.
        embedding_size: D of CLIP.
    """

    def __init__(self, sizes: FcClipSizes, channels: list[int], embedding_size: int) -> None:
        super().__init__()
        use_input_precision_in_deformable_attention()
        self.hidden_size = hidden = sizes.hidden_size
        config = Mask2FormerConfig(
            feature_size=hidden, mask_feature_size=hidden, hidden_dim=hidden, num_attention_heads=sizes.heads,
            encoder_layers=sizes.pixel_layers, encoder_feedforward_dim=sizes.pixel_feedforward_size,
            decoder_layers=sizes.query_layers + 1, dim_feedforward=sizes.query_feedforward_size,
            num_queries=sizes.queries, pre_norm=False, enforce_input_projection=False, dropout=0.0,
            feature_strides=[4, 8, 16, 32], common_stride=4,
        )  # fmt: skip
        self.pixel_decoder = Mask2FormerPixelDecoder(config, channels)
        self.query_decoder = Mask2FormerTransformerModule(hidden, config)
        self.pooled_projection = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden))
        self.class_embedder = Mask2FormerMLPPredictionHead(hidden, hidden, embedding_size)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))
        self.void_embedding = nn.Parameter(torch.zeros(1, embedding_size))

    def forward(self, levels: list[Tensor]) -> FcClipOutput:
        """Decode CLIP's feature maps [1, C, h, w] at strides 4, 8, 16, 32."""
        decoded = self.pixel_decoder(levels)
        out = self.query_decoder(decoded.multi_scale_features, decoded.mask_features)
        queries = out.intermediate_hidden_states[-1].transpose(0, 1)  # [1, Q, hidden]
        mask_logits = out.masks_queries_logits[-1]
        inside = (mask_logits > 0).to(mask_logits.dtype).flatten(2)  # [1, Q, N]
        pooled = inside @ decoded.mask_features.flatten(2).transpose(1, 2)
        pooled = pooled / (inside.sum(-1, keepdim=True) + _EPS)
        embeddings = self.class_embedder(self.pooled_projection(pooled) + queries)
        return FcClipOutput(mask_logits[0], F.normalize(embeddings[0], dim=-1), queries, decoded.mask_features)

    def classifier(self, embeddings: Tensor) -> Tensor:
        """Return the rows to compare mask embeddings with, scaled: [(K + 1) * S, D].

        The last S rows are the void class, learned, which takes no synonyms: one row S times.

        Args:
            embeddings: [K, S, D] unit, S texts a class; a class of fewer repeats one.
        """
        void = F.normalize(self.void_embedding, dim=-1).expand(embeddings.shape[1], -1)
        scale = self.logit_scale.exp().clamp(max=_MAX_LOGIT_SCALE)
        return (torch.cat([embeddings.flatten(0, 1), void]) * scale).detach()


def class_logits(mask_embeddings: Tensor, classifier: Tensor, texts: int) -> Tensor:
    """Return [Q, K + 1]: for each class the best of its texts, the last for no object.

    Args:
        mask_embeddings: [Q, D] unit.
        classifier: of `FcClip.classifier`.
        texts: S.
    """
    return (mask_embeddings @ classifier.T).unflatten(1, (-1, texts)).amax(-1)
