# SPDX-License-Identifier: Apache-2.0
"""Weights from files that others published: read without running code, loaded whole or refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vl_anomaly_ros.errors import TrainingError

_WRAPPINGS = ("state_dict", "model", "average")
"""Keys under which open_clip, detectron2 and this project's training keep the weights in a torch checkpoint."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name, on the CPU.

    Args:
        path: `*.safetensors`, or a torch checkpoint. Of a torch file only tensors and plain containers are read, never
            code (PyTorch's weights-only loading).

    Raises:
        TrainingError: the file cannot be read, would run code, is a TorchScript archive, or holds something else.
    """
    if not path.is_file():
        raise TrainingError(f"{path}: expected a checkpoint file, got nothing there; check the path")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=_can_be_mapped(path))
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path}: expected a whole checkpoint, got: {error}; fetch it again") from error
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError and others
        first = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise TrainingError(
            f"{path}: expected a torch checkpoint of tensors alone, got: {first}; pickles with code and TorchScript "
            "archives are never opened: convert the weights to safetensors where you trust them"
        ) from error
    return _unwrapped(path, content)


def _unwrapped(path: Path, content: Any) -> dict[str, Tensor]:
    """The tensors by name that a torch checkpoint keeps, out of what it keeps them in."""
    if isinstance(content, Mapping):
        content = next((content[key] for key in _WRAPPINGS if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping) or not content:
        raise TrainingError(f"{path}: expected tensors by name, got {type(content).__name__}; name a state dict")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise TrainingError(f"{path}: {key}: expected a tensor, got {type(value).__name__}; name a state dict")
    state = dict(content)
    if all(key.startswith("module.") for key in state):  # as data-parallel training names them
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def without(state: Mapping[str, Tensor], ignored: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state without the keys that are rightly ignored, and a line on each pattern that met one.

    Args:
        state: tensors by name.
        ignored: pattern of the whole key -> why it is not needed.
    """
    kept = dict(state)
    lines = []
    for pattern, reason in ignored.items():
        met = [key for key in kept if re.fullmatch(pattern, key)]
        for key in met:
            del kept[key]
        if met:
            lines.append(f"{len(met)} x {pattern}: {reason}")
    return kept, lines


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Put every tensor of `state` into `module`, as float32 where it is floating point.

    Args:
        module: takes the tensors themselves, so that large models are held once.
        state: exactly the module's keys and shapes.
        what: begins the message.

    Raises:
        TrainingError: as `refuse_partial`; the module is then as before.
    """
    own = module.state_dict()
    refuse_partial(
        what,
        missing=own.keys() - state.keys(),
        unexpected=state.keys() - own.keys(),
        mismatched={
            key: (tuple(own[key].shape), tuple(state[key].shape))
            for key in own.keys() & state.keys()
            if own[key].shape != state[key].shape
        },
    )
    tensors = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    module.load_state_dict(tensors, strict=True, assign=True)


def refuse_partial(
    what: str,
    missing: Iterable[str],
    unexpected: Iterable[str],
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
) -> None:
    """Raise `TrainingError` that names every key unless all three are empty.

    Args:
        what: begins the message.
        missing: keys of the network without weights.
        unexpected: keys of the file that the network does not have.
        mismatched: key -> (shape of the network, shape in the file).
    """
    parts = []
    if names := sorted(missing):
        parts.append(f"{len(names)} missing: {', '.join(names)}")
    if names := sorted(unexpected):
        parts.append(f"{len(names)} unexpected: {', '.join(names)}")
    if mismatched:
        shapes = [f"{key} expected {want}, got {got}" for key, (want, got) in sorted(mismatched.items())]
        parts.append(f"{len(shapes)} of another shape: {', '.join(shapes)}")
    if parts:
        raise TrainingError(
            f"{what}: expected weights for the whole network, got {'; '.join(parts)}. Nothing was loaded; "
            "give the checkpoint that the preset names"
        )


def _can_be_mapped(path: Path) -> bool:
    """Whether it is a zip file, PyTorch's format since 1.6; the older one has to be read as a whole."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"
