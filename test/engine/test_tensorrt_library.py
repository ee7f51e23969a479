# SPDX-License-Identifier: Apache-2.0
"""Neither library, a package that only fetches the real one, an old one: one sentence each."""

from __future__ import annotations

import sys
import types

import pytest

from vl_anomaly_ros.engine.tensorrt.library import NAMES, load_library
from vl_anomaly_ros.errors import EngineError


@pytest.mark.parametrize("name", NAMES)
def test_absent(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name.replace("-", "_"), None)
    with pytest.raises(EngineError, match=f"{name}: expected the Python module"):
        load_library(name)


def test_without_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", types.ModuleType("tensorrt"))
    with pytest.raises(EngineError, match="expected TensorRT with Builder"):
        load_library("tensorrt")
