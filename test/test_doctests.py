# SPDX-License-Identifier: Apache-2.0
"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NEEDS_TORCH = {"model", "training"}


def modules_with_examples() -> list[str]:
    found = []
    for path in sorted((ROOT / "vl_anomaly_ros").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[1] not in NEEDS_TORCH and ">>> " in path.read_text(encoding="utf-8"):
            found.append(".".join(parts))
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples(name: str) -> None:
    if ".node." in name:
        pytest.importorskip("rclpy", reason="rclpy is not installed")
    module = importlib.import_module(name)
    import numpy as np

    result = doctest.testmod(module, extraglobs={"np": np})
    assert result.attempted > 0
    assert result.failed == 0
