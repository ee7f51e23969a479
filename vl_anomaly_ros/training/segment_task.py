# SPDX-License-Identifier: Apache-2.0
"""Segmenter and PL-Aligner, trained together on known classes; CLIP stays frozen."""

from __future__ import annotations

import numpy as np
import torch
from open_clip.model import CLIP
from tokenizers import Tokenizer
from torch import Tensor, nn

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.evaluation.image_set import ANOMALY
from vl_anomaly_ros.model.aligner import PLAligner
from vl_anomaly_ros.model.clip import freeze
from vl_anomaly_ros.model.segmenter import Segmenter, SegmenterOutput, semantic_probabilities
from vl_anomaly_ros.training.config import PhaseConfig, TrainingConfig
from vl_anomaly_ros.training.data import ImageSet, augment, draw_picture, normalise, random_window, to_tensor
from vl_anomaly_ros.training.device import autocast, device_of
from vl_anomaly_ros.training.losses import aligner_loss, make_targets, match, segmentation_loss
from vl_anomaly_ros.training.parallel import world_size
from vl_anomaly_ros.training.tokenizer import context_tokens


def learned_prompt(contexts: int) -> str:
    """Return the learned prompt's text: the context tokens, then the name."""
    return " ".join([*context_tokens(contexts), "{}"])


def build_aligner(clip: CLIP, tokenizer: Tokenizer, config: TrainingConfig) -> PLAligner:
    """Build an untrained PL-Aligner; contexts start as the words of "a photo of a" with a little noise."""
    contexts = config.bundle.learned_contexts
    ids = [int(tokenizer.token_to_id(name)) for name in context_tokens(contexts)]
    words = tokenizer.encode("a photo of a").ids[1 : 1 + contexts]
    words += [words[-1]] * (contexts - len(words))
    rows = clip.token_embedding.weight[words].detach()
    generator = torch.Generator().manual_seed(config.seed)
    rows = rows + 0.01 * torch.randn(rows.shape, generator=generator)
    return PLAligner(config.segmenter.hidden_size, config.clip.embedding_size, rows, ids)


class SegmentTask:
    """One phase of segmenter training.

    Args:
        name: of the phase's files.
        segmenter: trained here.
        aligner: trained here.
        clip: frozen by this constructor.
        tokenizer: of CLIP.
        images: a set without anomalies.
        negatives: words of what is not known. As text alone they stand beside the known prompts in the
            aligner's softmax, so that no known pixel or query comes near them; no picture of them is used.
        config: the run.
        phase: this phase.
    """

    def __init__(
        self, name: str, segmenter: Segmenter, aligner: PLAligner, clip: CLIP, tokenizer: Tokenizer,
        images: ImageSet, negatives: list[str], config: TrainingConfig, phase: PhaseConfig,
    ) -> None:  # fmt: skip
        if (images.semantic == ANOMALY).any():
            raise TrainingError("the segmenter's image set holds anomalies; make it with known classes only")
        self.name = name
        self.module: nn.Module = nn.ModuleDict({"segmenter": segmenter, "aligner": aligner})
        self.device = device_of(config.device)
        self.module.to(self.device)
        self.segmenter, self.aligner, self.clip = segmenter, aligner, clip.to(self.device)
        freeze(clip)
        self.images, self.held_out = images.split(phase.validation_images)
        self.config, self.phase = config, phase
        prompt = learned_prompt(config.bundle.learned_contexts)
        words = [*images.classes, *negatives]
        self.tokens = torch.tensor([tokenizer.encode(prompt.format(c)).ids for c in words]).to(self.device)

    def loss(self, generator: torch.Generator, *, held_out: bool = False) -> tuple[Tensor, dict[str, float]]:
        """Segment random windows; every decoder layer is supervised, the aligner on the last one."""
        config, weights = self.config, self.config.loss
        images = self.held_out if held_out else self.images
        windows = [
            random_window(draw_picture(images, generator), self.phase, generator, about_objects=0.3)
            for _ in range(self.phase.batch_size // world_size())
        ]
        pixels = augment(to_tensor(windows), generator).to(self.device)
        pixels = normalise(pixels, config.bundle.mean, config.bundle.std)
        labels = torch.from_numpy(np.stack([w.semantic for w in windows]).astype(np.int64)).to(self.device)
        targets = make_targets(labels, len(self.images.classes))
        with autocast(self.device, self.phase.bfloat16):
            out: SegmenterOutput = self.segmenter(pixels)
            pixel_embeddings = self.aligner.pixel_embeddings(out.pixels)
            mask_embeddings = self.aligner.mask_embeddings(out.queries)
        class_embeddings = self.aligner.class_embeddings(self.clip, self.tokens)
        segmentation = torch.zeros((), device=self.device)
        for masks, classes in zip(out.mask_logits, out.class_logits, strict=True):
            matches = match(masks, classes, targets, weights)
            segmentation = segmentation + segmentation_loss(masks, classes, targets, matches, weights)
        segmentation = segmentation / len(out.mask_logits)
        pixel, query = aligner_loss(
            pixel_embeddings, mask_embeddings, class_embeddings, targets, matches, weights.aligned_tau
        )
        loss = segmentation + weights.pixel_weight * pixel + weights.query_weight * query
        with torch.no_grad():
            sure = targets.share.amax(1) > 0.5
            truth = targets.share.argmax(1)
            detector = (semantic_probabilities(out).argmax(1) == truth)[sure].float().mean()
        return loss, {
            "segmentation": float(segmentation.detach()),
            "pixel": float(pixel.detach()),
            "query": float(query.detach()),
            "accuracy": float(detector),
        }
