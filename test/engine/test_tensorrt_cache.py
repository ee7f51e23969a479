# SPDX-License-Identifier: Apache-2.0
"""The cache of built engines: only what it built itself, whole and unaltered, is ever given out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from vl_anomaly_ros.engine.tensorrt.cache import MANIFEST, Entry, find, find_or_build, key_of, replace
from vl_anomaly_ros.errors import EngineError

RECIPE = {"graphs": {"head.onnx": "ab"}, "library": "tensorrt-rtx", "version": "1.0", "device": "8.9"}


class Builder:
    """Counts how often it builds."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> Mapping[str, bytes]:
        self.count += 1
        return {"visual.engine": b"V" * 1000, "head.engine": b"H" * 10}


@pytest.fixture
def builder() -> Builder:
    return Builder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a" / "engines"


@pytest.fixture
def entry(folder: Path, builder: Builder) -> Entry:
    made = find_or_build(folder, RECIPE, builder)
    assert made.built
    return made


def test_it_is_built_once_and_found_after(folder: Path, builder: Builder, entry: Entry) -> None:
    again = find_or_build(folder, RECIPE, builder)
    assert not again.built
    assert again.files == entry.files
    assert builder.count == 1
    assert entry.path.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in entry.path.iterdir()} == {"visual.engine", "head.engine", MANIFEST}
    assert all(path.stat().st_mode & 0o077 == 0 for path in entry.path.iterdir())


@pytest.mark.parametrize("change", [{"version": "1.1"}, {"graphs": {"head.onnx": "cd"}}, {"device": "8.6"}])
def test_whatever_it_depends_on_makes_another_entry(
    change: dict[str, object], folder: Path, builder: Builder, entry: Entry
) -> None:
    other = find_or_build(folder, {**RECIPE, **change}, builder)
    assert other.built
    assert other.path != entry.path
    assert not find_or_build(folder, RECIPE, builder).built  # the old one stays


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)


def edit_manifest(path: Path, **values: object) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps({**manifest, **values}))


def test_what_is_not_there_is_not_found(folder: Path, builder: Builder) -> None:
    assert find(folder, RECIPE) is None
    made = find_or_build(folder, RECIPE, builder)
    found = find(folder, RECIPE)
    assert found is not None
    assert (found.files, found.path, found.built) == (made.files, made.path, False)
    assert find(folder, {**RECIPE, "version": "2"}) is None


def test_an_entry_is_replaced_as_a_whole(folder: Path, builder: Builder, entry: Entry) -> None:
    made = replace(folder, RECIPE, {"other.engine": b"O"})
    assert (made.path, made.built) == (entry.path, True)
    found = find(folder, RECIPE)
    assert found is not None
    assert found.files == {"other.engine": b"O"}
    assert {path.name for path in entry.path.iterdir()} == {"other.engine", MANIFEST}
    assert not find_or_build(folder, RECIPE, builder).built
    folder.chmod(0o777)
    with pytest.raises(EngineError, match="nobody else may write it"):
        replace(folder, RECIPE, {})


DAMAGE: dict[str, Callable[[Path], object]] = {
    "altered engine": lambda path: flip(path / "visual.engine"),
    "engine cut short": lambda path: (path / "visual.engine").write_bytes(b"V"),
    "engine gone": lambda path: (path / "head.engine").unlink(),
    "manifest gone": lambda path: (path / MANIFEST).unlink(),
    "manifest no JSON": lambda path: (path / MANIFEST).write_text("{"),
    "manifest a list": lambda path: (path / MANIFEST).write_text("[]"),
    "manifest of another recipe": lambda path: edit_manifest(path, recipe={**RECIPE, "version": "2"}),
    "manifest of another format": lambda path: edit_manifest(path, format=2),
    "manifest names a path": lambda path: edit_manifest(path, files={"../x": "0"}),
    "others may write the engine": lambda path: (path / "head.engine").chmod(0o622),
    "others may write the folder": lambda path: path.chmod(0o777),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_bad_entry_is_built_anew(
    damage: str, folder: Path, builder: Builder, entry: Entry, caplog: pytest.LogCaptureFixture
) -> None:
    DAMAGE[damage](entry.path)
    assert find(folder, RECIPE) is None
    again = find_or_build(folder, RECIPE, builder)
    assert again.built
    assert again.files == entry.files
    assert "not used, built anew" in caplog.text
    assert not find_or_build(folder, RECIPE, builder).built


def test_a_link_in_its_place_is_not_followed(folder: Path, builder: Builder, entry: Entry, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    entry.path.rename(elsewhere)
    entry.path.symlink_to(elsewhere)
    assert find_or_build(folder, RECIPE, builder).built
    assert (elsewhere / MANIFEST).exists()  # what the link led to is nobody's to remove
    again = entry.path / "head.engine"
    again.rename(tmp_path / "head.engine")
    again.symlink_to(tmp_path / "head.engine")
    assert find_or_build(folder, RECIPE, builder).built


@pytest.mark.usefixtures("entry")
def test_what_another_user_owns_is_not_used(folder: Path, builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As seen by that other user: who may not build into a folder that is not theirs either."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(EngineError, match="expected to own it"):
        find_or_build(folder, RECIPE, builder)
    assert builder.count == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_an_engine_of_another_owner_is_built_anew(folder: Path, builder: Builder, entry: Entry) -> None:
    os.chown(entry.path / "head.engine", 12345, -1)
    assert find_or_build(folder, RECIPE, builder).built


@pytest.mark.usefixtures("entry")
def test_a_folder_that_others_may_write_is_refused(folder: Path, builder: Builder) -> None:
    folder.chmod(0o777)
    with pytest.raises(EngineError, match="nobody else may write it"):
        find_or_build(folder, RECIPE, builder)


def test_a_folder_that_cannot_be_made_is_refused_in_one_sentence(tmp_path: Path, builder: Builder) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match="name another by --cache"):
        find_or_build(tmp_path / "file" / "engines", RECIPE, builder)


def test_a_failed_build_leaves_nothing(folder: Path, builder: Builder) -> None:
    def fail() -> Mapping[str, bytes]:
        raise EngineError("no")

    with pytest.raises(EngineError, match="no"):
        find_or_build(folder, RECIPE, fail)
    assert not (folder / key_of(RECIPE)).exists()
    assert find_or_build(folder, RECIPE, builder).built


CHILD = """
import os, signal, sys, time
from pathlib import Path
from vl_anomaly_ros.engine.tensorrt import cache
folder, mode = Path(sys.argv[1]), sys.argv[2]
RECIPE = {"graphs": {"head.onnx": "ab"}, "library": "tensorrt-rtx", "version": "1.0", "device": "8.9"}
if mode == "killed":
    def fsync(descriptor, count=[0]):
        count[0] += 1
        if count[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    os.fsync = fsync
def build():
    with (folder / "log").open("a") as log:
        log.write("built\\n")
    time.sleep(0.3)
    return {"visual.engine": b"V" * 1000, "head.engine": b"H" * 10}
print(cache.find_or_build(folder, RECIPE, build).built)
"""


def child(folder: Path, mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(folder), mode], stdout=subprocess.PIPE, text=True)


def test_killed_in_the_middle_of_writing(folder: Path, builder: Builder) -> None:
    process = child(folder, "killed")
    assert process.wait(60) == -signal.SIGKILL
    assert list(folder.glob("*.partial-*"))
    assert not (folder / key_of(RECIPE)).exists()
    assert find_or_build(folder, RECIPE, builder).built
    assert not list(folder.glob("*.partial-*"))


def test_two_processes_at_once_end_with_one_engine(folder: Path, builder: Builder) -> None:
    processes = [child(folder, "whole") for _ in range(3)]
    said = sorted(process.communicate(timeout=60)[0].strip() for process in processes)
    assert said == ["False", "False", "True"]
    assert (folder / "log").read_text() == "built\n"
    assert not find_or_build(folder, RECIPE, builder).built


def test_who_waits_for_a_killed_builder_builds(folder: Path) -> None:
    first = child(folder, "whole")
    while not (folder / "log").exists():
        time.sleep(0.01)
        assert first.poll() is None
    second = child(folder, "whole")
    first.kill()
    assert second.communicate(timeout=60)[0].strip() == "True"
