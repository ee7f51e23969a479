# SPDX-License-Identifier: Apache-2.0
"""Where a run trains."""

from __future__ import annotations

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
