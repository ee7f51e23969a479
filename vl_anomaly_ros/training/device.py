# SPDX-License-Identifier: Apache-2.0
"""Where a run trains."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from vl_anomaly_ros.errors import TrainingError


def device_of(name: str) -> torch.device:
    """The device of the setting `device`.

    Raises:
        TrainingError: it is none of cpu, cuda and auto, or a GPU is asked for where PyTorch sees none.

    >>> device_of("cpu")
    device(type='cpu')
    """
    if name not in ("auto", "cpu", "cuda"):
        raise TrainingError(f"device: expected cpu, cuda or auto, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device: expected a GPU that PyTorch can use, found none; set cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def autocast(device: torch.device, bfloat16: bool) -> AbstractContextManager[None]:
    """Compute in bfloat16 where that is asked for and the device has it; processors without it emulate it slowly."""
    fast = device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001  (nothing public says it)
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16 and fast)
