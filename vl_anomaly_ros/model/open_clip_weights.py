# SPDX-License-Identifier: Apache-2.0
"""CLIP of a published architecture with weights from a local file, in open_clip's layouts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP
from torch import Tensor, nn

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.model.checkpoint import load_strictly, read_state, without

IGNORED = {
    "input_resolution|context_length|vocab_size": "sizes that OpenAI's files repeat as tensors",
    "attn_mask": "the causal mask, a constant",
}
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
CONFIG_FILE = "open_clip_config.json"


@dataclass(frozen=True)
class PublishedClip:
    """CLIP as it was published.

    Attributes:
        model: with its weights, float32, not in training.
        mean, std: RGB, 0..1, that its images are normalised with.
        notes: for the bundle's provenance.
    """

    model: CLIP
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...]


def load_clip(path: Path, architecture: str, *, quick_gelu: bool = False) -> PublishedClip:
    """Return CLIP with the weights of `path`.

    Args:
        path: a checkpoint file (safetensors or torch), or a folder with one of `WEIGHT_FILES` and `CONFIG_FILE`.
        architecture: open_clip's name, such as "ViT-B-16".
        quick_gelu: the weights were trained with the approximate GELU (OpenAI's, DFN's and some of MetaCLIP's); the
            tensors do not show it. A folder's configuration says it by itself.

    Raises:
        TrainingError: the weights are not those of the architecture; every key that does not fit is named.
    """
    config: dict[str, Any] = {}
    file = path
    if path.is_dir():
        config = _folder_config(path, architecture)
        quick_gelu = quick_gelu or bool(config["model_cfg"].get("quick_gelu"))
        found = [path / name for name in WEIGHT_FILES if (path / name).is_file()]
        if not found:
            raise TrainingError(f"{path}: expected one of {', '.join(WEIGHT_FILES)}, got neither; name the file")
        file = found[0]
    model = build_clip(architecture, quick_gelu=quick_gelu)
    notes = load_clip_state(model, read_state(file), str(file))
    preprocessing = config.get("preprocess_cfg", {})
    activation = "QuickGELU" if quick_gelu else "GELU"
    return PublishedClip(
        model,
        tuple(preprocessing.get("mean", open_clip.OPENAI_DATASET_MEAN)),
        tuple(preprocessing.get("std", open_clip.OPENAI_DATASET_STD)),
        (f"CLIP {architecture} ({activation}) from {file.name}", *notes),
    )


def build_clip(architecture: str, *, quick_gelu: bool = False) -> CLIP:
    """Return CLIP with random weights.

    Its end token is known by its id, the last of the published ones, because learned contexts get higher ids.

    Raises:
        TrainingError: open_clip does not know the architecture.
    """
    config = _architecture(architecture)
    with torch.no_grad():
        model = CLIP(**config, quick_gelu=quick_gelu)
    model.text_eos_id = int(model.token_embedding.weight.shape[0]) - 1
    return model.eval()


def load_clip_state(model: CLIP, state: Mapping[str, Tensor], what: str) -> list[str]:
    """Put the weights into the model; returns a line on each kind of key that was rightly ignored.

    Raises:
        TrainingError: as `load_strictly`.
    """
    kept, notes = without(state, IGNORED)
    scale = kept.get("logit_scale")
    if scale is not None and scale.numel() == 1:  # some files hold it as [1], others as a scalar
        kept["logit_scale"] = scale.reshape(model.logit_scale.shape)
    load_strictly(model, kept, what)
    model.eval()
    return notes


def extend_vocabulary(clip: CLIP, rows: Tensor) -> None:
    """Append `rows` [m, text width] to the token embedding, in place: the learned contexts."""
    table = clip.token_embedding.weight
    grown = nn.Embedding(table.shape[0] + rows.shape[0], table.shape[1])
    grown.weight = nn.Parameter(torch.cat([table.detach(), rows.to(table.dtype)]), requires_grad=False)
    clip.token_embedding = grown


def _architecture(name: str) -> dict[str, Any]:
    config = open_clip.get_model_config(name)
    if config is None:
        raise TrainingError(f"CLIP: expected an architecture that open_clip {open_clip.__version__} knows, got {name}")
    return {key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}


def _folder_config(folder: Path, architecture: str) -> dict[str, Any]:
    """The folder's configuration, if it describes the architecture."""
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        have = config["model_cfg"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: expected open_clip's configuration, got: {error!r}; name the file") from error
    want = _architecture(architecture)
    for key, value in want.items():
        if have.get(key) != value:
            raise TrainingError(
                f"{path}: expected {key} of {architecture}, {value}, got {have.get(key)}; choose the preset of these "
                "weights"
            )
    return dict(config)
