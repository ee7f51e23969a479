# SPDX-License-Identifier: Apache-2.0
"""The light graph, run once per vocabulary and frame: three anomaly sources, their weighted mean, and the ensemble.

Sources: VL-Anomaly (arXiv 2603.01029) for the three sources, VL4AD (2024) for the maximum over a class's prompts, merge
groups and OOD prompts; its ensemble of learned and frozen probabilities is FC-CLIP's (arXiv 2308.02487). That a pixel
which all queries together cover by less than a tenth counts as unexplained in proportion is our choice: a hundred
queries that claim a ten-thousandth each would otherwise pass for an explanation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name everyone knows)

from vl_anomaly_ros.model.numerics import small_sigmoid

INPUT_NAMES = (
    "mask_logits", "class_logits", "mask_embeddings", "pixel_embeddings", "clip_features",
    "text_bank", "aligned_mask", "clip_mask", "group_matrix", "detector_matrix",
    "source_weights", "temperatures", "text_pixel_weight", "clip_dense_weight", "ensemble",
)  # fmt: skip
OUTPUT_NAMES = ("score", "sources", "class_map")
_NO_PROMPT = 1e4  # cosines lie in -1..1: a row that far below the others has no weight
_LEAST_COVERAGE = 0.1
_EPS = 1e-6
_LEAST = 1e-12


class Head(nn.Module):
    """What head.onnx computes; everything about the vocabulary is an input.

    C classes (known first, then OOD), R prompt rows a class, G merge groups, Q queries, K detector classes,
    D embedding size, (h, w) mask size, (hc, wc) size of the CLIP features.
    """

    def forward(
        self,
        mask_logits: Tensor,  # [Q, h, w]
        class_logits: Tensor,  # [Q, K+1]
        mask_embeddings: Tensor,  # [Q, D] unit
        pixel_embeddings: Tensor,  # [D, h, w] unit
        clip_features: Tensor,  # [D, hc, wc]
        text_bank: Tensor,  # [C, R, D] unit rows, zero padding
        aligned_mask: Tensor,  # [C, R]
        clip_mask: Tensor,  # [C, R]
        group_matrix: Tensor,  # [G, C]
        detector_matrix: Tensor,  # [C, K]
        source_weights: Tensor,  # [3] detector, text, clip
        temperatures: Tensor,  # [2] aligned, clip
        text_pixel_weight: Tensor,  # [1] share of the pixels' alignment against the masks'
        clip_dense_weight: Tensor,  # [1] share of CLIP at each pixel against CLIP under each mask
        ensemble: Tensor,  # [3] share of the ensemble's score, exponent of frozen CLIP for seen and for unseen classes
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return score [h, w], sources [3, h, w] and class_map int32 [h, w]."""
        height, width = mask_logits.shape[-2:]
        masks = small_sigmoid(mask_logits).flatten(1)  # [Q, N]
        classes = class_logits.softmax(-1)  # [Q, K+1]
        coverage = (1.0 - classes[:, -1:]) * masks  # w_q M_q

        # The claims of several queries may sum to more than 1: normalised there, or doubt would read as certainty.
        claims = classes[:, :-1].T @ masks  # [K, N]
        detector = detector_matrix @ (claims / claims.sum(0, keepdim=True).clamp(min=1.0))

        def per_mask(probabilities: Tensor) -> Tensor:
            """[C, Q] -> [C, N], weighted by how far each query claims the pixel."""
            return (probabilities @ coverage) / coverage.sum(0, keepdim=True).clamp(min=_LEAST_COVERAGE)

        aligned_tau, clip_tau = temperatures[0], temperatures[1]
        by_pixel = _class_probabilities(text_bank, aligned_mask, pixel_embeddings.flatten(1), aligned_tau)
        by_mask = _class_probabilities(text_bank, aligned_mask, mask_embeddings.T, aligned_tau)  # [C, Q]
        text = _mean(per_mask(by_mask), by_pixel, text_pixel_weight)

        pooled = _pool(mask_logits, clip_features)  # [D, Q]
        clip_by_mask = _class_probabilities(text_bank, clip_mask, pooled, clip_tau)  # [C, Q]
        dense = F.normalize(clip_features.flatten(1), dim=0)
        clip_by_pixel = _class_probabilities(text_bank, clip_mask, dense, clip_tau)
        clip_by_pixel = _resize(
            clip_by_pixel.view(-1, clip_features.shape[-2], clip_features.shape[-1]), height, width
        ).flatten(1)
        clip = _mean(per_mask(clip_by_mask), clip_by_pixel, clip_dense_weight)

        seen = detector_matrix.amax(1)  # [C]
        exponent = ensemble[2] + seen * (ensemble[1] - ensemble[2])
        together = per_mask(_geometric_mean(by_mask, clip_by_mask, exponent[:, None]))

        probabilities = torch.stack([detector, text, clip])  # [3, C, N]
        groups = group_matrix @ probabilities  # [3, G, N]
        sources = (1.0 - groups.amax(1)).clamp(0.0, 1.0)
        weights = source_weights / source_weights.sum()
        doubt = (1.0 - (group_matrix @ together).amax(0)).clamp(0.0, 1.0)
        score = _mean((weights[:, None] * sources).sum(0), doubt, ensemble[0])
        fused = _mean((weights[:, None, None] * probabilities).sum(0), together, ensemble[0])
        known = group_matrix.amax(0)  # [C]
        class_map = (fused + (known[:, None] - 1.0) * _NO_PROMPT).argmax(0)
        return (
            score.view(height, width),
            sources.view(3, height, width),
            class_map.to(torch.int32).view(height, width),
        )


def _class_probabilities(text_bank: Tensor, rows: Tensor, embeddings: Tensor, tau: Tensor) -> Tensor:
    """Return softmax over classes [C, N] of the best prompt's cosine / tau; 0 for classes without a prompt."""
    cosines = text_bank @ embeddings  # [C, R, N]
    best = (cosines + (rows[..., None] - 1.0) * _NO_PROMPT).amax(1)
    return (best / tau).softmax(0) * rows.amax(1)[:, None]


def _mean(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Return the weighted mean, `share` of it from `other`."""
    return one + share * (other - one)


def _geometric_mean(learned: Tensor, frozen: Tensor, exponent: Tensor) -> Tensor:
    """Return learned^(1 - exponent) * frozen^exponent, [C, Q], summing to 1; 0 where one of the two is."""
    mixed = (1.0 - exponent) * learned.clamp(min=_LEAST).log() + exponent * frozen.clamp(min=_LEAST).log()
    mixed = mixed.exp() * (learned > 0) * (frozen > 0)
    return mixed / mixed.sum(0, keepdim=True).clamp(min=_LEAST)


def _pool(mask_logits: Tensor, features: Tensor) -> Tensor:
    """Return unit mask-pooled features [D, Q]."""
    masks = _resize(small_sigmoid(mask_logits), features.shape[-2], features.shape[-1]).flatten(1)
    pooled = features.flatten(1) @ masks.T / (masks.sum(1) + _EPS)
    return F.normalize(pooled, dim=0)


def _resize(maps: Tensor, height: int, width: int) -> Tensor:
    """Resize [N, h, w] maps bilinearly; the sizes are constants of the graph."""
    if int(maps.shape[-2]) == int(height) and int(maps.shape[-1]) == int(width):
        return maps
    return F.interpolate(maps[None], size=(int(height), int(width)), mode="bilinear", align_corners=False)[0]
