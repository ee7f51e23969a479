# SPDX-License-Identifier: Apache-2.0
"""The heavy graph made of published networks: the same outputs as `Visual`, from other parts.

Published checkpoints have no PL-Aligner. Without one, the aligned embeddings come from what is in CLIP's text space
already: CLIP's own dense features, and for the masks FC-CLIP's mask embeddings where there are some, else CLIP's dense
features pooled under each mask. That is our choice; the bundle's provenance says it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name everyone knows)

from vl_anomaly_ros.model.aligner import PLAligner
from vl_anomaly_ros.model.dense_clip import DenseConvNext
from vl_anomaly_ros.model.fcclip import FcClip, class_logits
from vl_anomaly_ros.model.numerics import small_sigmoid
from vl_anomaly_ros.model.segmenter import Mask2Former

_EPS = 1e-6

Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class Decoded(NamedTuple):
    """What a segmenter says of one image, and what a PL-Aligner maps into text space."""

    mask_logits: Tensor  # [Q, H/4, W/4]
    class_logits: Tensor  # [Q, K+1]
    queries: Tensor  # [1, Q, hidden]
    pixels: Tensor  # [1, hidden, H/4, W/4]


class Normalise(nn.Module):
    """Map uint8 RGB [1, H, W, 3] to float32 [1, 3, H, W], by mean and std in 0..1."""

    factor: Tensor
    offset: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        deviation = torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1)
        self.register_buffer("factor", 1.0 / (255.0 * deviation))
        self.register_buffer("offset", -torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1) / deviation)

    def forward(self, image: Tensor) -> Tensor:
        """Normalise."""
        return image.float().permute(0, 3, 1, 2) * self.factor + self.offset  # bytes are converted first, for TensorRT


class Mask2FormerVisual(nn.Module):
    """A Mask2Former beside a CLIP tower; each normalises the image its own way.

    Args:
        segmenter: published Mask2Former.
        segmenter_input: its normalisation.
        dense: CLIP's dense features, normalised image [1, 3, H, W] -> [1, D, hc, wc].
        clip_input: CLIP's normalisation.
        aligner: trained on this segmenter, or None.
    """

    def __init__(
        self, segmenter: Mask2Former, segmenter_input: Normalise, dense: nn.Module, clip_input: Normalise,
        aligner: PLAligner | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.segmenter, self.segmenter_input = segmenter, segmenter_input
        self.dense, self.clip_input, self.aligner = dense, clip_input, aligner

    @property
    def hidden_size(self) -> int:
        """Width of the queries and pixels."""
        return int(self.segmenter.network.config.hidden_dim)

    def decode(self, image: Tensor) -> Decoded:
        """Segment RGB [1, H, W, 3] in 0..255; sides are multiples of 32."""
        out = self.segmenter(self.segmenter_input(image))
        return Decoded(out.mask_logits[-1][0], out.class_logits[-1][0], out.queries, out.pixels)

    def forward(self, image: Tensor) -> Outputs:
        """Map uint8 RGB [1, H, W, 3] to the outputs named in `visual.OUTPUT_NAMES`, without the batch axis."""
        masks, classes, queries, pixels = self.decode(image)
        features = self.dense(self.clip_input(image))[0]
        if self.aligner is not None:
            by_mask = self.aligner.mask_embeddings(queries)[0]
            return masks, classes, by_mask, self.aligner.pixel_embeddings(pixels)[0], features
        return masks, classes, pooled_embeddings(masks, features), upsampled_embeddings(masks, features), features


class FcClipVisual(nn.Module):
    """FC-CLIP: one CLIP tower for masks, classes and dense features.

    Args:
        tower: CLIP's image tower.
        decoders: FC-CLIP's own part.
        clip_input: normalisation.
        class_embeddings: [K, S, D] unit text embeddings of the detector's classes, S texts each.
        aligner: trained on these decoders, or None.
    """

    classifier: Tensor

    def __init__(
        self, tower: DenseConvNext, decoders: FcClip, clip_input: Normalise, class_embeddings: Tensor,
        aligner: PLAligner | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.tower, self.decoders, self.clip_input, self.aligner = tower, decoders, clip_input, aligner
        self.texts = int(class_embeddings.shape[1])
        self.register_buffer("classifier", decoders.classifier(class_embeddings))

    @property
    def hidden_size(self) -> int:
        """Width of the queries and pixels."""
        return self.decoders.hidden_size

    def decode(self, image: Tensor) -> Decoded:
        """Segment RGB [1, H, W, 3] in 0..255; sides are multiples of 32."""
        out = self.decoders(self.tower.levels(self.clip_input(image)))
        classes = class_logits(out.mask_embeddings, self.classifier, self.texts)
        return Decoded(out.mask_logits, classes, out.queries, out.pixels)

    def forward(self, image: Tensor) -> Outputs:
        """Map uint8 RGB [1, H, W, 3] to the outputs named in `visual.OUTPUT_NAMES`, without the batch axis."""
        levels = self.tower.levels(self.clip_input(image))
        features = self.tower.project(levels[-1])[0]
        out = self.decoders(levels)
        classes = class_logits(out.mask_embeddings, self.classifier, self.texts)
        if self.aligner is not None:
            by_mask = self.aligner.mask_embeddings(out.queries)[0]
            return out.mask_logits, classes, by_mask, self.aligner.pixel_embeddings(out.pixels)[0], features
        by_pixel = upsampled_embeddings(out.mask_logits, features)
        return out.mask_logits, classes, out.mask_embeddings, by_pixel, features


def pooled_embeddings(mask_logits: Tensor, features: Tensor) -> Tensor:
    """Return unit features [Q, D]: the mean of [D, hc, wc] under each mask [Q, h, w]."""
    size = (int(features.shape[-2]), int(features.shape[-1]))
    masks = F.interpolate(small_sigmoid(mask_logits)[None], size=size, mode="bilinear", align_corners=False)[0]
    masks = masks.flatten(1)
    return F.normalize(masks @ features.flatten(1).T / (masks.sum(1, keepdim=True) + _EPS), dim=1)


def upsampled_embeddings(mask_logits: Tensor, features: Tensor) -> Tensor:
    """Return unit features [D, h, w]: [D, hc, wc] at the size of the masks [Q, h, w]."""
    size = (int(mask_logits.shape[-2]), int(mask_logits.shape[-1]))
    return F.normalize(F.interpolate(features[None], size=size, mode="bilinear", align_corners=False)[0], dim=0)
