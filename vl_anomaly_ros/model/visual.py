# SPDX-License-Identifier: Apache-2.0
"""The heavy graph, run once a frame: image in, masks, classes and embeddings out."""

from __future__ import annotations

import torch
from open_clip.model import CLIP
from torch import Tensor, nn

from vl_anomaly_ros.model.aligner import PLAligner
from vl_anomaly_ros.model.clip import dense_features
from vl_anomaly_ros.model.segmenter import Segmenter

OUTPUT_NAMES = ("mask_logits", "class_logits", "mask_embeddings", "pixel_embeddings", "clip_features")


class Visual(nn.Module):
    """What visual.onnx computes.

    Args:
        segmenter: trained segmenter.
        aligner: trained PL-Aligner.
        clip: frozen CLIP.
        mean: 3 values, RGB in 0..1.
        std: 3 values, RGB in 0..1.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, segmenter: Segmenter, aligner: PLAligner, clip: CLIP, mean: list[float], std: list[float]
    ) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.aligner = aligner
        self.clip_visual = clip.visual
        self._clip = [clip]  # in a list: the text tower is not part of this graph
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Map uint8 RGB [1, H, W, 3] to the outputs named in `OUTPUT_NAMES`, without the batch axis."""
        # TensorRT takes bytes as an input, but does nothing with them but to convert them.
        x = (image.float().permute(0, 3, 1, 2) / 255.0 - self.mean) / self.std
        out = self.segmenter(x)
        return (
            out.mask_logits[-1][0],
            out.class_logits[-1][0],
            self.aligner.mask_embeddings(out.queries)[0],
            self.aligner.pixel_embeddings(out.pixels)[0],
            dense_features(self._clip[0], x)[0],
        )
