# SPDX-License-Identifier: Apache-2.0
"""Scores of the CPU are kept from start to start, and are only believed when nobody else can have written them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from vl_anomaly_ros.engine import reference
from vl_anomaly_ros.engine.bundle import Bundle, load_bundle
from vl_anomaly_ros.engine.reference import FILE, MOST_ENTRIES, reference_folder, reference_of
from vl_anomaly_ros.errors import EngineError


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


def entry_of(bundle: Bundle) -> Path:
    """The folder of scores that are kept."""
    reference_of(bundle, 1)
    path = reference_of(bundle, 1).path
    assert path is not None
    return path


def test_what_is_found_is_what_was_computed(bundle: Bundle, cache: Path) -> None:
    first, second = reference_of(bundle, 1), reference_of(bundle, 1)
    assert first.path is None
    assert second.path is not None
    assert second.path.parent == cache / "vl_anomaly_ros" / "references"
    assert second.score.dtype == np.float32
    np.testing.assert_array_equal(first.score, second.score)
    assert first.score.max() > 0.5 > 0.3 > first.score.min(), "the picture has something of both"
    assert second.path.stat().st_mode & 0o077 == 0
    assert [path.stat().st_mode & 0o177 for path in second.path.iterdir()] == [0, 0]


def altered(path: Path) -> None:
    content = bytearray((path / FILE).read_bytes())
    content[0] ^= 1
    (path / FILE).write_bytes(content)


def with_right_hashes(path: Path, content: bytes) -> None:
    (path / FILE).write_bytes(content)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"] = {FILE: sha256(content).hexdigest()}
    (path / "manifest.json").write_text(json.dumps(manifest))


def without_file(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "files": {}}))


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "altered": altered,
    "truncated": lambda path: os.truncate(path / FILE, 100),
    "truncated, with the hash of that": lambda path: with_right_hashes(path, (path / FILE).read_bytes()[:100]),
    "not finite": lambda path: with_right_hashes(path, b"\xff" * (path / FILE).stat().st_size),
    "no file": without_file,
    "empty manifest": lambda path: (path / "manifest.json").write_bytes(b""),
    "manifest of another": lambda path: (path / "manifest.json").write_text('{"format": 1, "recipe": {}, "files": {}}'),
    "others may write it": lambda path: (path / FILE).chmod(0o622),
    "others may write the folder": lambda path: path.chmod(0o777),
    "a link to a folder": linked,
    "gone": shutil.rmtree,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_what_is_damaged_is_computed_anew(bundle: Bundle, how: str) -> None:
    wanted = reference_of(bundle, 1).score
    DAMAGE[how](entry_of(bundle))
    again = reference_of(bundle, 1)
    assert again.path is None
    np.testing.assert_array_equal(again.score, wanted)
    entry_of(bundle)  # it is kept again


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("file", [FILE, "manifest.json", "."])
def test_what_another_user_has_written_is_computed_anew(bundle: Bundle, file: str) -> None:
    path = entry_of(bundle)
    with_right_hashes(path, np.zeros((path / FILE).stat().st_size, np.uint8).tobytes())  # "nothing there"
    os.chown(path / file, 12345, 12345)
    again = reference_of(bundle, 1)
    assert again.path is None
    assert again.score.max() > 0.5
    assert entry_of(bundle).stat().st_uid == os.geteuid()


def test_a_folder_of_another_user_is_not_used(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another user's number, so that it can be tried without being root."""
    wanted = reference_of(bundle, 1).score
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    for _ in range(2):
        again = reference_of(bundle, 1)
        assert again.path is None
        np.testing.assert_array_equal(again.score, wanted)


def test_where_nothing_can_be_kept_it_is_computed_each_time(
    bundle: Bundle, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (cache / "vl_anomaly_ros").write_text("a file in the way")
    for _ in range(2):
        caplog.clear()
        assert reference_of(bundle, 1).path is None
        assert "scores of the CPU are not kept" in caplog.text


def test_what_the_cpu_cannot_run_is_refused_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def broken(*_: Any) -> Any:
        tried.append(1)
        raise EngineError("out of memory")

    monkeypatch.setattr(reference, "_score", broken)
    with pytest.raises(EngineError, match="out of memory"):
        reference_of(bundle, 1)
    assert tried == [1]


@pytest.mark.parametrize("what", ["bundle", "onnxruntime", "project", "machine", "picture"])
def test_whatever_they_depend_on_names_them(bundle: Bundle, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry_of(bundle)
    if what == "bundle":
        bundle = replace(bundle, sha256="0" * 64)
    elif what == "onnxruntime":
        monkeypatch.setattr(onnxruntime, "__version__", "0.0")
    elif what == "project":
        monkeypatch.setattr(reference, "__version__", "0.0")
    elif what == "machine":
        monkeypatch.setattr("platform.machine", lambda: "abacus")
    else:
        picture_of = reference.picture_of
        monkeypatch.setattr(reference, "picture_of", lambda *size: 255 - picture_of(*size))
    assert reference_of(bundle, 1).path is None


def test_the_oldest_are_removed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    score = reference_of(bundle, 1).score
    monkeypatch.setattr(reference, "_score", lambda *_: score)
    shutil.rmtree(reference_folder())
    bundles = [replace(bundle, sha256=f"{number:064x}") for number in range(MOST_ENTRIES + 2)]
    for number, one in enumerate(bundles):
        os.utime(entry_of(one), (number, number))
    assert len([path for path in reference_folder().iterdir() if path.is_dir()]) == MOST_ENTRIES
    assert len(list(reference_folder().iterdir())) == 2 * MOST_ENTRIES, "a folder and a lock each"
    assert [reference_of(one, 1).path is None for one in (bundles[-1], bundles[2], bundles[1])] == [False, False, True]
