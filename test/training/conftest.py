# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the training tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_training


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the four image sets of a tiny run."""
    return small_training.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny training configuration."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(small_training.CONFIG, encoding="utf-8")
    return path
