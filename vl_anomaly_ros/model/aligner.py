# SPDX-License-Identifier: Apache-2.0
"""PL-Aligner: segmenter features brought into CLIP's text space by learned prompts.

Source: VL-Anomaly (arXiv 2603.01029). The paper gives the parts, not their sizes; two-layer adapters are our
choice.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.model import CLIP
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name everyone knows)

from vl_anomaly_ros.model.clip import encode_tokens


class PLAligner(nn.Module):
    """Learned context vectors and the pixel and mask adapters.

    Args:
        hidden_size: width of the segmenter's features.
        embedding_size: D of CLIP.
        context_rows: [m, text width] start values of the context vectors.
        context_ids: the m token ids <ctx0> ... <ctx{m-1}>.
    """

    def __init__(self, hidden_size: int, embedding_size: int, context_rows: Tensor, context_ids: list[int]) -> None:
        super().__init__()
        self.contexts = nn.Parameter(context_rows.detach().clone())
        self.context_ids = list(context_ids)
        self.pixel_adapter = nn.Sequential(
            nn.Conv2d(hidden_size, embedding_size, 1), nn.GELU(), nn.Conv2d(embedding_size, embedding_size, 1)
        )
        self.mask_adapter = nn.Sequential(
            nn.Linear(hidden_size, embedding_size), nn.GELU(), nn.Linear(embedding_size, embedding_size)
        )

    def class_embeddings(self, clip: CLIP, tokens: Tensor) -> Tensor:
        """Return unit embeddings [K, D] of learned prompts; gradients reach the contexts only.

        Args:
            clip: the frozen CLIP.
            tokens: [K, L] int64, prompts that hold the context tokens.
        """
        return encode_tokens(clip, tokens, dict(zip(self.context_ids, self.contexts, strict=True)))

    def pixel_embeddings(self, pixels: Tensor) -> Tensor:
        """Map [B, hidden, h, w] to unit embeddings [B, D, h, w]."""
        return F.normalize(self.pixel_adapter(pixels).float(), dim=1)

    def mask_embeddings(self, queries: Tensor) -> Tensor:
        """Map [B, Q, hidden] to unit embeddings [B, Q, D]."""
        return F.normalize(self.mask_adapter(queries).float(), dim=-1)

    def state(self) -> dict[str, Any]:
        """Return what export needs beside the weights."""
        return {"context_ids": self.context_ids}


def write_contexts(clip: CLIP, aligner: PLAligner) -> None:
    """Store the learned contexts as rows of the token embedding, in place (for export)."""
    with torch.no_grad():
        clip.token_embedding.weight[aligner.context_ids] = aligner.contexts.to(clip.token_embedding.weight.dtype)
