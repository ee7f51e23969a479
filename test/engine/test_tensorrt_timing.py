# SPDX-License-Identifier: Apache-2.0
"""How fast kernels were: kept for one version and device, given to the next build, and to no other."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_gpu
import pytest
from fake_gpu import FakeConfig

from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.engine.tensorrt.build import BuildSettings
from vl_anomaly_ros.engine.tensorrt.engines import engines_of
from vl_anomaly_ros.engine.tensorrt.library import Library
from vl_anomaly_ros.engine.tensorrt.timing import Timings

DEVICE = "Fake GPU, 8.9"


@pytest.fixture
def library() -> Library:
    return Library("tensorrt", fake_gpu.fake_tensorrt(), "10.0")


def given(library: Library, device: str, folder: Path) -> bytes | None:
    """What a build would be given."""
    config = FakeConfig()
    Timings(library, device, folder).give(config)
    return config.timings


def test_the_next_build_is_given_what_this_one_measured(library: Library, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    assert given(library, DEVICE, tmp_path) == b""
    entry, _ = engines_of(library, bundle, BuildSettings(device=DEVICE), tmp_path)
    assert entry.built
    assert given(library, DEVICE, tmp_path) == b"..."  # three graphs
    engines_of(library, bundle, BuildSettings(device=DEVICE), tmp_path)  # found
    assert given(library, DEVICE, tmp_path) == b"..."
    engines_of(library, bundle, BuildSettings(device=DEVICE, max_vocabulary=99), tmp_path)
    assert given(library, DEVICE, tmp_path) == b"......"
    assert given(library, "Other GPU, 8.9", tmp_path) == b""
    assert given(replace(library, version="10.1"), DEVICE, tmp_path) == b""
    assert given(replace(library, name="tensorrt-rtx"), DEVICE, tmp_path) == b""


def test_what_was_altered_is_given_to_nobody(
    library: Library, tiny_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engines_of(library, load_bundle(tiny_bundle), BuildSettings(device=DEVICE), tmp_path)
    (kept,) = tmp_path.glob("*/timing.cache")
    kept.write_bytes(b"evil")
    assert given(library, DEVICE, tmp_path) == b""
    assert "was altered" in caplog.text


def test_what_builds_ahead_of_time_times_nothing(library: Library, tiny_bundle: Path, tmp_path: Path) -> None:
    kinds = type("ComputeCapability", (), {"__members__": {"SM89": 89}})
    ahead = replace(library, module=library.module)
    ahead.module.ComputeCapability = kinds
    engines_of(ahead, load_bundle(tiny_bundle), BuildSettings(compute_capability="8.9"), tmp_path)
    assert not list(tmp_path.glob("*/timing.cache"))


def test_a_library_that_does_not_take_them_builds_without(
    library: Library, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    config = FakeConfig()
    config.takes_timings = False
    timings = Timings(library, DEVICE, tmp_path)
    timings.give(config)
    timings.take(config)
    assert "did not take the timings" in caplog.text
    assert not list(tmp_path.glob("*/timing.cache"))


def test_a_build_goes_on_where_they_cannot_be_kept(
    library: Library, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    timings = Timings(library, DEVICE, tmp_path)
    config: Any = FakeConfig()
    timings.give(config)
    config.timings = b"new"
    tmp_path.chmod(0o777)  # then the cache is used by nobody
    timings.take(config)
    tmp_path.chmod(0o700)
    assert "timings are not kept" in caplog.text
    assert given(library, DEVICE, tmp_path) == b""
