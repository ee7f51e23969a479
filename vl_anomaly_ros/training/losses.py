# SPDX-License-Identifier: Apache-2.0
"""Losses: multi-positive image-text contrast, mask classification with Hungarian matching, PL-Aligner."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the name everyone knows)

from vl_anomaly_ros.training.config import LossConfig

_FAR = -1e4
_LEAST_DOUBT, _LEAST_BELIEF = 1e-6, 1e-30  # of a cell, so that logarithms stay finite in float32


def multi_positive_contrast(logits: Tensor, positive: Tensor) -> Tensor:
    """Return the contrast of regions and captions where several captions are true of one region.

    Each true pair competes against the pairs that are not true only, so "dog" and "animal" never push each
    other away. The mean of both directions (region to caption, caption to region).

    Args:
        logits: [regions, captions].
        positive: [regions, captions] bool.
    """
    return 0.5 * (contrast_with_captions(logits, positive) + contrast_with_captions(logits.T, positive.T))


def contrast_with_captions(logits: Tensor, positive: Tensor) -> Tensor:
    """Return one direction of the contrast: rows against columns, as `multi_positive_contrast` says."""
    usable = positive.any(1) & ~positive.all(1)
    logits, positive = logits[usable], positive[usable]
    if logits.shape[0] == 0:
        return logits.sum()
    others = logits.masked_fill(positive, _FAR).logsumexp(1, keepdim=True)
    pair = F.softplus(others - logits)  # -log(e^s / (e^s + sum of negatives))
    weight = positive.to(logits.dtype)
    return ((pair * weight).sum(1) / weight.sum(1)).mean()


def most_specific(logits: Tensor, own: Tensor) -> Tensor:
    """Return the cross-entropy of each region's most specific words against every other caption.

    The contrast above lets "animal" match a dog as well as "dog" does; a name should say as much as it can.

    Args:
        logits: [regions, captions].
        own: [regions, captions] bool, its name and synonyms; the best of them counts.
    """
    usable = own.any(1)
    others = logits.masked_fill(own, _FAR).logsumexp(1)
    best = logits.masked_fill(~own, _FAR).amax(1)
    return F.softplus(others - best)[usable].sum() / usable.sum().clamp(min=1)


def outlier_exposure(cosines: Tensor, groups: Tensor, scale: Tensor, share: Tensor, valid: Tensor) -> Tensor:
    """Return the cross-entropy of the anomaly score, one minus the best known group's probability.

    Which group explains a normal cell is left open, so at a border either neighbour may.

    Args:
        cosines: [N, C] of cells and the best prompt of each class, known classes and OOD prompts.
        groups: [G, C] float, 1 where a class belongs to a known merge group.
        scale: inverse temperature.
        share: [N] of the cell that is anomalous, 0..1.
        valid: [N] share of the cell that has a label.
    """
    known = ((scale * cosines).softmax(1) @ groups.T).amax(1).clamp(_LEAST_BELIEF, 1.0 - _LEAST_DOUBT)
    entropy = -(share * torch.log1p(-known) + (1.0 - share) * known.log())
    return (entropy * valid).sum() / valid.sum().clamp(min=1.0)


class Targets(NamedTuple):
    """Semantic truth at the masks' resolution; a pixel may be shared by classes at their border."""

    share: Tensor  # [B, K, h, w] float, the share of each class in the cell
    valid: Tensor  # [B, h, w] float, the share of labelled pixels in the cell


def make_targets(labels: Tensor, num_classes: int, stride: int = 4) -> Targets:
    """Average one-hot labels over cells of `stride` pixels.

    Args:
        labels: [B, H, W] int64; values outside 0..num_classes-1 carry no label.
        num_classes: K.
        stride: H and W are multiples of it.
    """
    known = (labels >= 0) & (labels < num_classes)
    one_hot = F.one_hot(labels.where(known, torch.zeros_like(labels)), num_classes).permute(0, 3, 1, 2)
    share = F.avg_pool2d(one_hot.float() * known[:, None], stride)
    return Targets(share, share.sum(1))


Matches = list[tuple[Tensor, Tensor]]  # per image: query indices, class indices


@torch.no_grad()
def match(mask_logits: Tensor, class_logits: Tensor, targets: Targets, loss: LossConfig) -> Matches:
    """Assign one query to each class present in an image, by the Hungarian method on all pixels.

    Args:
        mask_logits: [B, Q, h, w].
        class_logits: [B, Q, K+1].
        targets: truth of the batch.
        loss: weights of the cost's parts.
    """
    batch, queries = mask_logits.shape[:2]
    logits = mask_logits.float().flatten(2)
    share = targets.share.flatten(2)
    valid = targets.valid.flatten(1)[:, None]
    count = valid.sum(-1, keepdim=True).clamp(min=1.0)
    # BCE(s, t) = softplus(s) - s t, so that the whole cost matrix is one matrix product.
    bce = ((F.softplus(logits) * valid).sum(-1, keepdim=True) - logits @ share.transpose(1, 2)) / count
    probability = logits.sigmoid() * valid
    overlap = probability @ share.transpose(1, 2)
    dice = 1.0 - (2.0 * overlap + 1.0) / (probability.sum(-1, keepdim=True) + share.sum(-1)[:, None] + 1.0)
    cost = (
        -loss.class_weight * class_logits.float().softmax(-1)[..., :-1]
        + loss.mask_weight * bce
        + loss.dice_weight * dice
    )
    found: Matches = []
    for i in range(batch):
        present = (share[i].sum(-1) >= 1.0).nonzero()[:, 0]
        rows, columns = linear_sum_assignment(cost[i][:, present].cpu().numpy())
        if len(rows) > queries:
            raise AssertionError("more classes than queries")
        rows, columns = (torch.as_tensor(each, device=present.device) for each in (rows, columns))
        found.append((rows, present[columns]))
    return found


def segmentation_loss(
    mask_logits: Tensor, class_logits: Tensor, targets: Targets, matches: Matches, loss: LossConfig
) -> Tensor:
    """Return class, mask and dice loss of one decoder layer (Mask2Former, on all pixels of a cell grid)."""
    batch, queries, last = class_logits.shape
    device = class_logits.device
    wanted = torch.full((batch, queries), last - 1, dtype=torch.long, device=device)
    predicted, truth, valid = [], [], []
    for i, (rows, columns) in enumerate(matches):
        wanted[i, rows] = columns
        predicted.append(mask_logits[i, rows].float())
        truth.append(targets.share[i, columns])
        valid.append(targets.valid[i][None].expand(len(rows), -1, -1))
    weight = torch.ones(last, device=device)
    weight[-1] = loss.no_object_weight
    classes = F.cross_entropy(class_logits.float().flatten(0, 1), wanted.flatten(), weight)
    s, t, v = (torch.cat(parts).flatten(1) for parts in (predicted, truth, valid))
    if s.shape[0] == 0:
        return loss.class_weight * classes
    bce = (F.binary_cross_entropy_with_logits(s, t, reduction="none") * v).sum(1) / v.sum(1).clamp(min=1.0)
    p = s.sigmoid() * v
    dice = 1.0 - (2.0 * (p * t).sum(1) + 1.0) / (p.sum(1) + t.sum(1) + 1.0)
    return loss.class_weight * classes + loss.mask_weight * bce.mean() + loss.dice_weight * dice.mean()


def aligner_loss(
    pixel_embeddings: Tensor, mask_embeddings: Tensor, class_embeddings: Tensor,
    targets: Targets, matches: Matches, tau: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the PL-Aligner's pixel and mask cross-entropies.

    Args:
        pixel_embeddings: [B, D, h, w] unit.
        mask_embeddings: [B, Q, D] unit.
        class_embeddings: [K or more, D] unit, from the learned prompts; rows past K are words that no pixel has.
        targets: truth of the batch.
        matches: of the last decoder layer.
        tau: temperature.
    """
    cosines = torch.einsum("kd,bdhw->bkhw", class_embeddings, pixel_embeddings)
    known = targets.share.shape[1]
    entropy = -(targets.share * (cosines / tau).log_softmax(1)[:, :known]).sum(1)
    pixel = entropy.sum() / targets.valid.sum().clamp(min=1.0)
    rows = torch.cat([mask_embeddings[i, rows] for i, (rows, _) in enumerate(matches)])
    labels = torch.cat([columns for _, columns in matches])
    if len(labels) == 0:
        return pixel, rows.sum() * 0.0
    return pixel, F.cross_entropy(rows @ class_embeddings.T / tau, labels)
