# SPDX-License-Identifier: Apache-2.0
"""A published Mask2Former with a Swin backbone, from a local folder in the layout of `transformers`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation
from transformers.utils import logging as transformers_logging

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.model.checkpoint import read_state, refuse_partial, without
from vl_anomaly_ros.model.presets import Backbone
from vl_anomaly_ros.model.segmenter import Mask2Former

IGNORED = {
    r"criterion\..*": "weights of the training loss",
    r".*\.relative_position_index": "a constant that the network makes itself",
}
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class PublishedSegmenter:
    """Mask2Former as it was published.

    Attributes:
        module: with its weights, float32, not in training.
        classes: names in the order of the class logits.
        mean, std: RGB, 0..1, that its images are normalised with.
        notes: for the bundle's provenance.
    """

    module: Mask2Former
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...]


def load_mask2former(folder: Path, backbone: Backbone, classes: tuple[str, ...]) -> PublishedSegmenter:
    """Return the segmenter of `folder`: config.json, one of `WEIGHT_FILES`, and preprocessor_config.json if there is.

    Args:
        folder: semantic and panoptic checkpoints have the same layout.
        backbone: that the preset names.
        classes: names that the checkpoint must distinguish, in any order.

    Raises:
        TrainingError: another network, other classes, or weights that do not fit; every such key is named.
    """
    values = _json(folder / "config.json")
    if values.get("model_type") != "mask2former":
        raise TrainingError(f"{folder}/config.json: expected model_type mask2former, got {values.get('model_type')!r}")
    config = Mask2FormerConfig.from_dict(values)
    have = config.backbone_config
    got = Backbone(getattr(have, "embed_dim", 0), tuple(getattr(have, "depths", ())))
    if have.model_type != "swin" or got != backbone:
        raise TrainingError(
            f"{folder}/config.json: expected a swin backbone of {backbone}, got {have.model_type} of {got}; choose the "
            "preset of these weights"
        )
    names = tuple(str(config.id2label[index]) for index in range(len(config.id2label)))
    if sorted(names) != sorted(classes):
        raise TrainingError(
            f"{folder}/config.json: expected the classes {', '.join(classes)} as id2label, got {', '.join(names)}"
        )
    found = [folder / name for name in WEIGHT_FILES if (folder / name).is_file()]
    if not found:
        raise TrainingError(f"{folder}: expected one of {', '.join(WEIGHT_FILES)}, got neither; name its folder")
    state, notes = without(read_state(found[0]), IGNORED)
    # transformers renames the keys of older versions; what it then cannot place, it reports.
    with _quiet():
        network, report = Mask2FormerForUniversalSegmentation.from_pretrained(
            None, config=config, state_dict=state, output_loading_info=True, ignore_mismatched_sizes=True
        )
    refuse_partial(
        str(found[0]),
        missing=[key for key in report["missing_keys"] if not key.startswith("criterion.")],
        unexpected=report["unexpected_keys"],
        mismatched={key: (tuple(own), tuple(file)) for key, file, own in report["mismatched_keys"]},
    )
    if report.get("error_msgs"):
        raise TrainingError(f"{found[0]}: expected weights that transformers can place, got: {report['error_msgs']}")
    mean, std = _normalisation(folder)
    note = f"Mask2Former {' '.join(map(str, backbone.depths))} x {backbone.embed_dim} from {found[0].name}"
    return PublishedSegmenter(Mask2Former(network.float()).eval(), names, mean, std, (note, *notes))


def _normalisation(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The folder's own, or ImageNet's, which all published Mask2Formers use."""
    path = folder / "preprocessor_config.json"
    values = _json(path) if path.is_file() else {}
    mean = tuple(values.get("image_mean", IMAGENET_MEAN))
    std = tuple(values.get("image_std", IMAGENET_STD))
    if len(mean) != 3 or len(std) != 3 or not all(0 < value < 1 for value in (*mean, *std)):
        raise TrainingError(f"{path}: expected image_mean and image_std of 3 numbers in 0..1, got {mean} and {std}")
    return mean, std


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: expected a JSON file, got: {error}; name the folder of the checkpoint") from error
    if not isinstance(values, dict):
        raise TrainingError(f"{path}: expected keys and values, got {type(values).__name__}")
    return values


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own report and progress bar: what matters in it is raised here."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
