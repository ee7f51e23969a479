# SPDX-License-Identifier: Apache-2.0
"""Trained weights to a bundle: three ONNX graphs, tokenizer, vocabulary, a first calibration, bundle.yaml."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from tokenizers import Tokenizer
from torch import Tensor, nn

from vl_anomaly_ros.evaluation.seal import seal, write_yaml
from vl_anomaly_ros.model import head, visual
from vl_anomaly_ros.model.aligner import PLAligner, write_contexts
from vl_anomaly_ros.model.clip import TextEncoder
from vl_anomaly_ros.model.segmenter import Segmenter
from vl_anomaly_ros.training.config import TrainingConfig
from vl_anomaly_ros.training.export_graph import export_graph, whole_or_not_at_all
from vl_anomaly_ros.training.segment_task import learned_prompt
from vl_anomaly_ros.training.vocabulary import make_vocabulary

PROMPT_TEMPLATES = ("a photo of a {}.", "a {} on the road.")

log = logging.getLogger(__name__)


def export_bundle(
    folder: Path, config: TrainingConfig, clip: CLIP, tokenizer: Tokenizer, segmenter: Segmenter,
    aligner: PLAligner, classes: Iterable[str], taught: Iterable[str], provenance: str,
) -> None:  # fmt: skip
    """Write a bundle folder; an old one of that name is replaced only when the new one is complete.

    Args:
        folder: the bundle's place.
        config: of the run.
        clip: trained; not changed.
        tokenizer: of CLIP.
        segmenter: trained.
        aligner: trained.
        classes: detector classes in order.
        taught: anomaly categories that CLIP was trained on.
        provenance: what it was trained on, for bundle.yaml.
    """
    classes = list(classes)
    clip = copy.deepcopy(clip).float().eval().to(memory_format=torch.contiguous_format)
    write_contexts(clip, aligner)
    height, width = config.bundle.height_px, config.bundle.width_px
    network = visual.Visual(
        copy.deepcopy(segmenter).to(memory_format=torch.contiguous_format), copy.deepcopy(aligner), clip,
        list(config.bundle.mean), list(config.bundle.std),
    ).eval()  # fmt: skip
    image = torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8)
    with torch.no_grad():
        outputs = network(image)
    logit_scale = float(clip.logit_scale.detach().exp())
    description = {
        "format": 1,
        "name": config.bundle.name,
        "version": config.bundle.version,
        "license": config.bundle.licence,
        "provenance": provenance,
        "input": {"width": width, "height": height, "resize": "letterbox"},
        "mean": list(config.bundle.mean),
        "std": list(config.bundle.std),
        "embedding_size": config.clip.embedding_size,
        "context_length": config.clip.context_length,
        "logit_scale": logit_scale,
        "detector_classes": classes,
        "learned_prompt": learned_prompt(config.bundle.learned_contexts),
        "prompt_templates": list(PROMPT_TEMPLATES),
        "files": {},
        "figures": {},
    }
    with whole_or_not_at_all(folder) as partial:
        export_graph(network, (image,), partial / "visual.onnx", ["image"], list(visual.OUTPUT_NAMES))
        export_head(partial / "head.onnx", outputs, len(classes))
        export_text(partial / "text.onnx", clip, tokenizer)
        tokenizer.save(str(partial / "tokenizer.json"))
        write_yaml(partial / "vocabulary.yaml", make_vocabulary(classes, taught))
        write_yaml(partial / "calibration.yaml", uncalibrated(config.loss.aligned_tau, 1.0 / logit_scale))
        write_yaml(partial / "bundle.yaml", description)
        seal(partial)
    log.info("bundle written to %s", folder)


def export_head(path: Path, outputs: tuple[Tensor, ...], detector_classes: int) -> None:
    """Write head.onnx for these outputs of the visual graph."""
    example = head_example(outputs, int(outputs[-1].shape[0]), detector_classes)
    export_graph(
        head.Head().eval(), example, path, list(head.INPUT_NAMES), list(head.OUTPUT_NAMES),
        {
            "text_bank": {0: "C", 1: "R"}, "aligned_mask": {0: "C", 1: "R"}, "clip_mask": {0: "C", 1: "R"},
            "group_matrix": {0: "G", 1: "C"}, "detector_matrix": {0: "C"},
        },
    )  # fmt: skip


def export_text(path: Path, clip: CLIP, tokenizer: Tokenizer) -> None:
    """Write text.onnx for any number of texts."""
    tokens = torch.tensor([e.ids for e in tokenizer.encode_batch(["a dog", "the road ahead"])])
    export_graph(
        TextEncoder(clip).eval(), (tokens,), path, ["tokens"], ["embeddings"],
        {"tokens": {0: "N"}, "embeddings": {0: "N"}},
    )  # fmt: skip


def uncalibrated(aligned_tau: float, clip_tau: float) -> dict[str, Any]:
    """Return a calibration that trusts all sources alike and passes the score through."""
    return {
        "source_weights": [1.0, 1.0, 1.0],
        "temperatures": [aligned_tau, clip_tau],
        "clip_dense_weight": 0.5,
        "probability": {"score": [0.0, 1.0], "probability": [0.0, 1.0]},
        "threshold": 0.5,
        "min_name_confidence": 0.3,
        "measured_on": "nothing yet: not calibrated",
    }


def head_example(outputs: tuple[Tensor, ...], embedding_size: int, detector_classes: int) -> tuple[Tensor, ...]:
    """Return example inputs of the head: the visual outputs and a small made-up vocabulary."""
    known, ood, rows = detector_classes, 2, 3
    bank = nn.functional.normalize(torch.randn(known + ood, rows, embedding_size), dim=-1)
    aligned = torch.zeros(known + ood, rows)
    aligned[:, 0] = 1.0
    return (
        *outputs, bank, aligned, 1.0 - aligned,
        torch.eye(known, known + ood), torch.eye(known + ood, detector_classes),
        torch.ones(3), torch.tensor([0.07, 0.03]), torch.tensor([0.5]), torch.tensor([0.5]),
        torch.tensor([0.5, 0.4, 0.8]),
    )  # fmt: skip
