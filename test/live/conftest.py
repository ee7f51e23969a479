# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the live tests: the real node in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import build_tiny_bundle


@pytest.fixture(scope="session", autouse=True)
def no_shared_memory_left() -> Iterator[None]:
    """Killed nodes leave 64 MB each in /dev/shm: new segments that no process maps are removed after the last test."""
    before = _segments()
    yield
    mapped = "".join(_text(maps) for maps in Path("/proc").glob("[0-9]*/maps"))
    for path in _segments() - before:
        if str(path) not in mapped:
            path.unlink(missing_ok=True)


def _segments() -> set[Path]:
    return {path for name in ("fastdds_*", "sem.fastdds_*") for path in Path("/dev/shm").glob(name)}  # noqa: S108


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has ended, or is another user's
        return ""


@pytest.fixture(scope="session")
def node_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The colour-seeing bundle with cells of 8 pixels of the rig's scene."""
    return build_tiny_bundle(tmp_path_factory.mktemp("node") / "tiny", width=160, height=80)


@pytest.fixture
def start_node(node_bundle: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts a node; keyword arguments are parameters, with two underscores for the dot."""
    from node_rig import NodeRig

    with ExitStack() as rigs:

        def begin(**parameters: str) -> NodeRig:
            defaults = {"engine.bundle": str(node_bundle), "engine.threads": "1", "node.image_reliability": "reliable"}
            named = {name.replace("__", "."): value for name, value in parameters.items()}
            return rigs.enter_context(NodeRig(tmp_path, {**defaults, "sync.wait_s": "5.0", **named}))

        yield begin
