# SPDX-License-Identifier: Apache-2.0
"""Bundles spoiled by chance, with right hashes: each loads or is refused as a bundle, and nothing else happens."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_bundle import rehash

from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.errors import BundleError
from vl_anomaly_ros.text.tokenizer import Tokenizer

HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 2**62, -(2**63), 0.0, -0.5, 1e308, 5e-324, float("nan"), float("inf"), "", " ", "x",
    "x" * 9000, "a\x00b", "\x1b[2J", "\u202e", "{}", "<s>", "../../etc/passwd", "2026-13-45", "1:2:3", "0x10", "~", "=",
    [], {}, [[]], [{}], {"a": {}}, [None], ["x"] * 2000, [1] * 5000, {str(i): i for i in range(300)},
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a nest of mappings and lists."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def spoiled(value: Any, path: tuple[Any, ...], replacement: Any) -> Any:
    """A copy with one value replaced; the whole where the path is empty."""
    if not path:
        return replacement
    whole = copy.deepcopy(value)
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = replacement
    return whole


def rehashed(folder: Path, file: str) -> Path:
    """The folder with right hashes in bundle.yaml, unless that is the spoiled file."""
    return folder if file == "bundle.yaml" else rehash(folder)


def refusal(load: Callable[[], object]) -> str:
    """Why something was refused, as one short printable line; empty where it was not."""
    try:
        load()
    except BundleError as error:
        said = str(error)
    else:
        return ""
    assert said.isprintable()
    assert len(said) < 700
    return said


@pytest.fixture
def folder(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


@pytest.mark.parametrize("file", ["bundle.yaml", "vocabulary.yaml", "calibration.yaml"])
def test_each_value_replaced_by_hostile_ones(folder: Path, file: str) -> None:
    values = yaml.safe_load((folder / file).read_text())
    ways = [way for way in places(values) if "files" not in way]
    chance = random.Random(file)  # noqa: S311
    refused = loaded = 0
    for way in ways:
        for replacement in chance.sample(HOSTILE, 4):
            (folder / file).write_text(yaml.safe_dump(spoiled(values, way, copy.deepcopy(replacement))))
            said = refusal(lambda: load_bundle(rehashed(folder, file)))
            refused, loaded = refused + bool(said), loaded + (not said)
    assert refused > loaded > 0


@pytest.mark.parametrize("file", ["bundle.yaml", "vocabulary.yaml", "calibration.yaml"])
def test_bytes_changed_by_chance(folder: Path, file: str) -> None:
    content = (folder / file).read_bytes()
    chance = random.Random(file)  # noqa: S311
    pieces = [*(bytes([c]) for c in b"\x00\xff[{'|\t%-:"), b"&a ", b"*a", b"!!", b"<<: ", b"? ", b"9" * 50]
    refused = 0
    for _ in range(300):
        spoilt = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(spoilt))
            spoilt[at : at + chance.randint(0, 3)] = chance.choice(pieces)
        (folder / file).write_bytes(spoilt)
        refused += bool(refusal(lambda: load_bundle(rehashed(folder, file))))
    assert refused > 100


def tokens(text: str) -> object:
    return Tokenizer(text.encode(), 12)(["dog", "<ctx0> the fox."])


def test_tokenizers_replaced_by_hostile_ones(tiny_bundle: Path) -> None:
    content = (tiny_bundle / "tokenizer.json").read_text()
    values = json.loads(content)
    chance = random.Random(1)  # noqa: S311
    refused = 0
    for way in places(values):
        for replacement in chance.sample(HOSTILE, 4):
            text = json.dumps(spoiled(values, way, copy.deepcopy(replacement)))
            refused += bool(refusal(partial(tokens, text)))
    assert refused > 100
