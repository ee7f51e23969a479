# SPDX-License-Identifier: Apache-2.0
"""A PL-Aligner for published networks, trained on Cityscapes; segmenter and CLIP stay as they are.

Source: VL-Anomaly (arXiv 2603.01029). That the segmenter is frozen too is our choice: the bundle then detects what the
published weights are known to detect, and one GPU holds any preset.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.evaluation.seal import write_yaml
from vl_anomaly_ros.model.aligner import PLAligner
from vl_anomaly_ros.model.clip import freeze
from vl_anomaly_ros.model.open_clip_weights import extend_vocabulary
from vl_anomaly_ros.model.presets import Preset
from vl_anomaly_ros.model.published_visual import Decoded, FcClipVisual, Mask2FormerVisual
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.training.cityscapes import CityscapesPictures
from vl_anomaly_ros.training.config import LossConfig, PhaseConfig, from_mapping, read_mapping, to_mapping
from vl_anomaly_ros.training.data import Pictures, augment, draw_picture, random_window, to_tensor
from vl_anomaly_ros.training.device import autocast, device_of
from vl_anomaly_ros.training.export_parts import Parts, Sources, assemble
from vl_anomaly_ros.training.export_preset import default_vocabulary
from vl_anomaly_ros.training.loop import run_phase
from vl_anomaly_ros.training.losses import aligner_loss, make_targets, match
from vl_anomaly_ros.training.segment_task import learned_prompt
from vl_anomaly_ros.training.tokenizer import context_tokens, open_clip_tokenizer

NAME = "aligner"
_START = "a photo of a"


@dataclass(frozen=True)
class AlignConfig:
    """A run, as its YAML file says.

    Attributes:
        seed: of everything random.
        device: cpu, cuda, or auto: a GPU where there is one.
        contexts: learned context vectors.
        negatives: the vocabulary's outlier words stand beside the classes in the softmax.
        images: how many pictures, the first ones; 0: all.
        phase: optimisation.
        loss: weights of the two alignments, and their temperature.
    """

    seed: int = 0
    device: str = "auto"
    contexts: int = 16
    negatives: bool = True
    images: int = 0
    phase: PhaseConfig = field(default_factory=PhaseConfig)
    loss: LossConfig = field(default_factory=LossConfig)


def load_align_config(path: Path) -> AlignConfig:
    """Read a configuration.

    Raises:
        TrainingError: the file is missing, is no YAML, or holds an unknown setting.
    """
    return from_mapping(AlignConfig, read_mapping(path), path.name)


def align(
    config: AlignConfig, preset: Preset, sources: Sources, root: Path, folder: Path,
    vocabulary: Vocabulary | None = None,
) -> Path:  # fmt: skip
    """Train, or go on with it, and return the checkpoint that `vl-anomaly export --aligner` takes.

    Args:
        config: of the run.
        preset: which networks.
        sources: their weights, without an aligner.
        root: of Cityscapes.
        folder: of the run; the resolved configuration is kept in it, and another one is refused.
        vocabulary: its outlier words are the negatives; None: as the export's default.

    Raises:
        TrainingError: weights, pictures or settings do not fit.
    """
    vocabulary = vocabulary or default_vocabulary(preset)
    height, width = config.phase.crop_height_px, config.phase.crop_width_px
    if height % 32 or width % 32:
        raise TrainingError(f"phase: expected a crop whose sides are multiples of 32, got {width}x{height}")
    pictures = CityscapesPictures(root, "train", preset.width_px, preset.height_px, config.images)
    network, parts = assemble(preset, sources, vocabulary, width, height)
    if not isinstance(network, (Mask2FormerVisual, FcClipVisual)):
        raise TrainingError(f"{preset.summary}: expected a network that can be aligned")
    _keep_config(config, sources, folder)
    torch.manual_seed(config.seed)
    words = vocabulary.ood_prompts if config.negatives else ()
    task = AlignTask(network, parts, pictures, words, config)
    run_phase(task, config.phase, folder, config.seed)
    return folder / f"{NAME}.pt"


class AlignTask:
    """Aligner alone; everything else is frozen.

    Args:
        network: published segmenter; its own aligner, if any, is not used.
        parts: CLIP's text tower and the classes.
        pictures: labelled with the preset's classes, in any order.
        negatives: words of what is not known.
        config: of the run.
    """

    def __init__(
        self, network: Mask2FormerVisual | FcClipVisual, parts: Parts, pictures: CityscapesPictures,
        negatives: tuple[str, ...], config: AlignConfig,
    ) -> None:  # fmt: skip
        missing = sorted(set(pictures.classes) - set(parts.classes))
        if missing:
            raise TrainingError(f"expected networks that know the classes of the pictures, they lack {missing[0]!r}")
        self.name, self.config = NAME, config
        self.device = device_of(config.device)
        self.network = network.to(self.device)
        self.clip = parts.clip.to(self.device)
        for module in (self.network, self.clip):
            freeze(module)
        self.pictures, self.held_out = pictures.split(config.phase.validation_images)
        self._column = np.full(256, 255, np.uint8)  # class of the picture -> class of the network
        self._column[: len(pictures.classes)] = [parts.classes.index(name) for name in pictures.classes]
        tokenizer = open_clip_tokenizer(parts.context_length, config.contexts)
        ids = [int(tokenizer.token_to_id(name)) for name in context_tokens(config.contexts)]
        start = tokenizer.encode(_START).ids[1 : 1 + len(_START.split())]
        rows = self.clip.token_embedding.weight[[start[i % len(start)] for i in range(config.contexts)]].detach()
        rows = rows + 0.01 * rows.std() * torch.randn(rows.shape, device=rows.device)
        extend_vocabulary(self.clip, rows)
        aligner = PLAligner(network.hidden_size, parts.embedding_size, rows, ids)
        self.module: nn.Module = nn.ModuleDict({"aligner": aligner}).to(self.device)
        self.aligner = aligner
        prompt = learned_prompt(config.contexts)
        texts = [prompt.format(word) for word in (*parts.classes, *negatives)]
        self.tokens = torch.tensor([tokenizer.encode(text).ids for text in texts]).to(self.device)
        self.classes = len(parts.classes)

    def loss(self, generator: torch.Generator, *, held_out: bool = False) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropies of pixels and matched queries of random windows against the prompts."""
        phase, weights = self.config.phase, self.config.loss
        pictures: Pictures = self.held_out if held_out else self.pictures
        classes = self.aligner.class_embeddings(self.clip, self.tokens)
        pixel = query = torch.zeros((), device=self.device)
        for _ in range(phase.batch_size):
            window = random_window(draw_picture(pictures, generator), phase, generator, about_objects=0.3)
            image = augment(to_tensor([window]), generator).mul(255.0).permute(0, 2, 3, 1).to(self.device)
            labels = torch.from_numpy(self._column[window.semantic].astype(np.int64))[None].to(self.device)
            targets = make_targets(labels, self.classes)
            with torch.no_grad(), autocast(self.device, phase.bfloat16):
                seen: Decoded = self.network.decode(image)
            matches = match(seen.mask_logits[None], seen.class_logits[None], targets, weights)
            pixels = self.aligner.pixel_embeddings(seen.pixels.float())
            masks = self.aligner.mask_embeddings(seen.queries.float())
            one, other = aligner_loss(pixels, masks, classes, targets, matches, weights.aligned_tau)
            pixel, query = pixel + one / phase.batch_size, query + other / phase.batch_size
        loss = weights.pixel_weight * pixel + weights.query_weight * query
        return loss, {"pixel": float(pixel.detach()), "query": float(query.detach())}


def _keep_config(config: AlignConfig, sources: Sources, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: str(path) for name, path in vars(sources).items() if path}
    path, values = folder / "config.yaml", {**to_mapping(config), "weights": weights}
    if path.exists() and yaml.safe_load(path.read_text(encoding="utf-8")) != values:
        raise TrainingError(f"{path} holds another configuration than the one given; use another --out")
    if not path.exists():
        write_yaml(path, values)
