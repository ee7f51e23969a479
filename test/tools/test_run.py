# SPDX-License-Identifier: Apache-2.0
"""The script `run` and what it is made of: when environments are made, mended and left alone, and what is said."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A Python that takes every check and makes a "virtual environment" of one file, at once.
STUB_PYTHON = """#!/bin/bash
[ "$1" = -m ] || exit 0
folder="${@: -1}"
rm -rf "$folder" && mkdir -p "$folder/bin" && touch "$folder/bin/python" && echo made
"""
# What one start does, with the long steps replaced by words.
START = """
set -euo pipefail
ROOT={root} VENV=$ROOT/.venv PYTHON={python}
source {environment}
install_wheels() {{ echo installed; {then} }}
make_environment wheels "$ROOT/list.txt"
echo ready
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with a space in its name, as people have them."""
    folder = tmp_path / "my checkout"
    folder.mkdir()
    (folder / "list.txt").write_text("numpy\n")
    stub = folder / "python"
    stub.write_text(STUB_PYTHON)
    stub.chmod(0o755)
    return folder


def start(checkout: Path, then: str = ":;") -> list[str]:
    """Return what one start did, in order."""
    places = {"root": checkout, "python": checkout / "python", "environment": ROOT / "tools" / "environment.sh"}
    script = START.format(**{name: shlex.quote(str(path)) for name, path in places.items()}, then=then)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    return done.stdout.split()


def test_a_second_start_does_nothing(checkout: Path) -> None:
    assert start(checkout) == ["made", "installed", "ready"]
    assert start(checkout) == ["ready"]


def test_a_changed_list_is_installed_without_starting_over(checkout: Path) -> None:
    start(checkout)
    (checkout / "list.txt").write_text("numpy\nscipy\n")
    assert start(checkout) == ["installed", "ready"]
    assert start(checkout) == ["ready"]


def test_an_interrupted_installation_starts_over(checkout: Path) -> None:
    assert start(checkout, then="exit 1;") == ["made", "installed"]
    assert start(checkout) == ["made", "installed", "ready"]


def test_an_interrupted_update_starts_over(checkout: Path) -> None:
    start(checkout)
    (checkout / "list.txt").write_text("scipy\n")
    assert start(checkout, then="exit 1;") == ["installed"]
    assert start(checkout) == ["made", "installed", "ready"]


def test_a_checkout_that_was_moved_gets_a_new_environment(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    start(checkout)
    moved = tmp_path_factory.mktemp("elsewhere") / "my checkout"
    shutil.move(checkout, moved)
    assert start(moved) == ["made", "installed", "ready"]


def run(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("VL_ANOMALY_VENV", "CXX")}
    if path is not None:
        environment = {"PATH": path, "HOME": environment.get("HOME", "/")}
    return subprocess.run([str(ROOT / "run"), *arguments], capture_output=True, text=True, env=environment)


def test_wrong_usage_shows_the_usage() -> None:
    for arguments in ((), ("nonsense",)):
        done = run(*arguments)
        assert done.returncode == 2
        assert "./run demo" in done.stderr
    helped = run("--help")
    assert helped.returncode == 0
    assert "./run test" in helped.stdout


@pytest.mark.parametrize(
    ("lacks", "mended_by"), [("python3", "apt-get install python3"), ("c++", "apt-get install g++")]
)
def test_what_is_missing_is_named_with_its_remedy(tmp_path: Path, lacks: str, mended_by: str) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "env", "cat", "cut", "dirname", "flock", "readlink", "sha256sum", "tail"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    if lacks != "python3":
        (tools / "python3").symlink_to(sys.executable)
    checkout = tmp_path / "my checkout"
    shutil.copytree(ROOT / "tools", checkout / "tools")
    shutil.copy(ROOT / "run", checkout / "run")
    environment = {"PATH": str(tools)}
    done = subprocess.run([str(checkout / "run"), "setup"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert mended_by in done.stderr
    assert not (checkout / ".venv").exists()


def test_requirements_come_from_pyproject() -> None:
    script = str(ROOT / "tools" / "requirements.py")
    plain = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    extended = subprocess.run([sys.executable, script, "simulation"], capture_output=True, text=True, check=True).stdout
    assert "onnxruntime" in plain
    assert not any(line.startswith("torch") for line in extended.splitlines())
    assert extended.startswith(plain)
    assert "mujoco" in extended


def test_wheels_are_mended_once(tmp_path: Path) -> None:
    """The exports name the folders of the machine that built them; a second run finds nothing left to do."""
    export = tmp_path / "share" / "some_msgs" / "cmake" / "export.cmake"
    export.parent.mkdir(parents=True)
    foreign = "/opt/python/cp311-cp311"
    numpy = f"{foreign}/lib/python3.11/site-packages/numpy/_core/include"
    export.write_text(f'INCLUDE "{foreign}/include/python3.11;{numpy};/usr/include"')
    command = [sys.executable, str(ROOT / "tools" / "mend_wheels.py"), str(tmp_path), "/my/include"]
    first = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    mended = export.read_text()
    assert "mended 1 " in first
    assert foreign not in mended
    assert mended.startswith('INCLUDE "/my/include;')
    assert mended.endswith(';/usr/include"')
    assert "mended 0 " in subprocess.run(command, capture_output=True, text=True, check=True).stdout
