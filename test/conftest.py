# SPDX-License-Identifier: Apache-2.0
"""Fixtures that many tests share. pyproject.toml puts test/helpers on the path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_bundle import build_tiny_bundle

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.pipeline import Pipeline


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the colour-seeing bundle of helpers/tiny_bundle.py; read only."""
    return build_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def tiny_pipeline(tiny_bundle: Path) -> Iterator[Pipeline]:
    """A fresh pipeline on the tiny bundle."""
    pipeline = Pipeline(with_values(Config(), {"engine.bundle": str(tiny_bundle), "engine.threads": 1}))
    yield pipeline
    pipeline.close()
