# SPDX-License-Identifier: Apache-2.0
"""Published networks to a bundle, compared with PyTorch before it is given out."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.evaluation.seal import seal, write_yaml
from vl_anomaly_ros.model import visual
from vl_anomaly_ros.model.presets import CITYSCAPES, Preset
from vl_anomaly_ros.text.vocabulary import KnownClass, Vocabulary
from vl_anomaly_ros.training.export import PROMPT_TEMPLATES, export_head, export_text, uncalibrated
from vl_anomaly_ros.training.export_graph import export_graph, gather_weights, whole_or_not_at_all
from vl_anomaly_ros.training.export_parity import check_parity, reference_of
from vl_anomaly_ros.training.export_parts import Parts, Sources, assemble

SIDE_MULTIPLE = 32
SHIPPED_VOCABULARY = Path("config") / "vocabularies" / "cityscapes.yaml"
NOT_CALIBRATED = (
    "NOT CALIBRATED: measured on nothing. The probability is the score itself and the threshold of 0.5 is nobody's "
    "measurement; run vl-anomaly calibrate before anything depends on it."
)


def export_preset(
    name: str, preset: Preset, sources: Sources, folder: Path, *,
    width_px: int, height_px: int, vocabulary: Vocabulary | None = None, threads: int = 2,
) -> dict[str, Any]:  # fmt: skip
    """Write a bundle folder and return its figures; an old one of that name stays until the new one is proven.

    Args:
        name: of the bundle.
        preset: which networks.
        sources: their weights.
        folder: the bundle's place.
        width_px: of the network, a multiple of `SIDE_MULTIPLE`.
        height_px: of the network, a multiple of `SIDE_MULTIPLE`.
        vocabulary: to ship; None: the package's Cityscapes vocabulary, or the bare classes where it is not installed.
        threads: of the CPU, for the comparison.

    Raises:
        TrainingError: weights do not fit, or a graph does not compute what PyTorch computes; nothing is written then.
        BundleError, VocabularyError: the runtime would refuse the bundle.
    """
    if min(width_px, height_px) <= 0 or width_px % SIDE_MULTIPLE or height_px % SIDE_MULTIPLE:
        raise TrainingError(
            f"size: expected a width and height that are multiples of {SIDE_MULTIPLE}, got {width_px}x{height_px}"
        )
    vocabulary = vocabulary or default_vocabulary(preset)
    network, parts = assemble(preset, sources, vocabulary, width_px, height_px)
    with whole_or_not_at_all(folder) as partial:
        reference = reference_of(network, parts.encode, parts.classes, width_px, height_px)
        made = partial / "made"
        made.mkdir()
        began = time.perf_counter()
        image = torch.from_numpy(reference.image)
        export_graph(network, (image,), made / "visual.onnx", ["image"], list(visual.OUTPUT_NAMES))
        export_s = time.perf_counter() - began
        parameters = sum(value.numel() for value in network.parameters())
        del network  # large networks leave room for the graph only when they are gone
        gather_weights(made / "visual.onnx", partial / "visual.onnx")
        shutil.rmtree(made)
        export_head(
            partial / "head.onnx", tuple(torch.from_numpy(value) for value in reference.outputs), len(parts.classes)
        )
        export_text(partial / "text.onnx", parts.clip, parts.tokenizer)
        parts.tokenizer.save(str(partial / "tokenizer.json"))
        write_yaml(partial / "vocabulary.yaml", vocabulary.to_mapping())
        tau = 1.0 / parts.logit_scale
        write_yaml(partial / "calibration.yaml", {**uncalibrated(tau, tau), "measured_on": NOT_CALIBRATED})
        write_yaml(partial / "bundle.yaml", _description(name, preset, parts, width_px, height_px))
        del parts
        seal(partial)
        figures = check_parity(partial, reference, threads)
        figures |= {"visual_parameters_millions": round(parameters / 1e6, 1), "export_visual_s": round(export_s, 1)}
        seal(partial, figures={"export": figures})
    return figures


def default_vocabulary(preset: Preset) -> Vocabulary:
    """The package's Cityscapes vocabulary where it names the preset's classes, else these classes alone."""
    package = Path(__file__).resolve().parents[2]
    for place in (package, Path(sys.prefix) / "share" / "vl_anomaly_ros"):
        if preset.classes == CITYSCAPES and (place / SHIPPED_VOCABULARY).is_file():
            return Vocabulary.from_file(place / SHIPPED_VOCABULARY)
    return Vocabulary(tuple(KnownClass(name) for name in preset.classes), name="detector classes")


def _description(name: str, preset: Preset, parts: Parts, width_px: int, height_px: int) -> dict[str, Any]:
    """What bundle.yaml says."""
    return {
        "format": 1,
        "name": name,
        "version": "1",
        "license": "that of the weights it was made of; see provenance",
        "provenance": f"{preset.summary}, exported without training.\n{parts.provenance}",
        "input": {"width": width_px, "height": height_px, "resize": "letterbox"},
        "mean": list(parts.mean),
        "std": list(parts.std),
        "embedding_size": parts.embedding_size,
        "context_length": parts.context_length,
        "logit_scale": parts.logit_scale,
        "detector_classes": list(parts.classes),
        "learned_prompt": parts.learned_prompt,
        "prompt_templates": list(PROMPT_TEMPLATES),
        "files": {},
        "figures": {},
    }
