# SPDX-License-Identifier: Apache-2.0
"""A TensorRT backend on a stand-in for GPU and library."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import fake_gpu
import pytest
from fake_cuda import RECORDING, FakeDriver, FakeRuntime

from vl_anomaly_ros.engine.bundle import Bundle, load_bundle
from vl_anomaly_ros.engine.tensorrt.backend import TensorRtBackend


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRuntime:
    runtime = FakeRuntime()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)
    monkeypatch.setitem(sys.modules, "cuda.bindings", type(sys)("cuda.bindings"))
    monkeypatch.setitem(sys.modules, "cuda", type(sys)("cuda"))
    monkeypatch.setitem(sys.modules, "tensorrt", fake_gpu.fake_tensorrt())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fake_gpu.ENGINES.clear()
    RECORDING.clear()
    return runtime


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    made = FakeDriver()
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", made)
    return made


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture
def backend(gpu: FakeRuntime, driver: FakeDriver, bundle: Bundle) -> Iterator[TensorRtBackend]:
    """One that has to give everything back at the end."""
    made = fake_gpu.make_backend(bundle)
    yield made
    made.close()
    assert not gpu.held
    assert (gpu.streams, gpu.recorded, gpu.graphs, driver.modules) == (set(), 0, {}, 0)
