# SPDX-License-Identifier: Apache-2.0
"""Built engines on disk. An engine file is executable code: only what this cache itself has built is ever given out.

An entry is a folder named by the hash of all that went into it: graphs, library and version, precision, shapes and
device. It appears whole or not at all, belongs to the user and is writable by nobody else, and its files have the
hashes that its manifest says; an entry that is otherwise is built anew. One process builds, others wait for it.
Beside the engines lies, by the same rules, what they are built of: graphs in 8 bits, and how fast TensorRT's kernels
were.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vl_anomaly_ros.errors import EngineError

MANIFEST = "manifest.json"
FORMAT = 1
_MAX_MANIFEST_BYTES = 1 << 20
_MAX_ENGINE_BYTES = 1 << 34
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

logger = logging.getLogger(__name__)

Recipe = Mapping[str, Any]
"""Everything that an entry depends on, plain values."""
Build = Callable[[], Mapping[str, bytes]]
"""Makes the files of an entry."""


@dataclass(frozen=True)
class Entry:
    """Engines that may be loaded.

    Attributes:
        path: the folder.
        files: content by name, verified as it was read: nobody can exchange it in between.
        built: made now, not found.
    """

    path: Path
    files: Mapping[str, bytes]
    built: bool


def default_folder() -> Path:
    """`vl_anomaly_ros/engines` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vl_anomaly_ros" / "engines"


def key_of(recipe: Recipe) -> str:
    """Name of the entry of a recipe."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:32]


def find_or_build(folder: Path, recipe: Recipe, build: Build) -> Entry:
    """The entry of a recipe; built where there is no good one.

    Args:
        folder: of the cache.
        recipe: what the entry depends on.
        build: called where it has to be built, by one process at a time.

    Raises:
        EngineError: the folder cannot be used, or `build` raises it.
    """
    with _alone_at(folder, recipe) as path:
        found = _read(path)
        if found is not None:
            return Entry(path, found, built=False)
        return _replaced(folder, path, recipe, build())


def find(folder: Path, recipe: Recipe) -> Entry | None:
    """The entry of a recipe; None where there is no good one.

    Raises:
        EngineError: the folder cannot be used.
    """
    with _alone_at(folder, recipe) as path:
        found = _read(path)
        return None if found is None else Entry(path, found, built=False)


def replace(folder: Path, recipe: Recipe, files: Mapping[str, bytes]) -> Entry:
    """Keep files as the entry of a recipe, in place of what it held.

    Raises:
        EngineError: the folder cannot be used.
    """
    with _alone_at(folder, recipe) as path:
        return _replaced(folder, path, recipe, files)


@contextmanager
def _alone_at(folder: Path, recipe: Recipe) -> Iterator[Path]:
    """Place of a recipe's entry, in a folder that may be used; nobody else is at it in this block."""
    path = folder / key_of(recipe)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(folder.lstat(), folder, stat.S_ISDIR)
        with _locked(folder / f"{path.name}.lock"):
            yield path
    except OSError as error:
        raise EngineError(
            f"{folder}: expected a folder for built engines that can be written, got: {error}; name another by --cache"
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone in this block; a process that dies lets go."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, bytes] | None:
    """The files of a good entry; None, and why in the log, where there is none."""
    if not path.exists() and not path.is_symlink():
        return None
    try:
        return _verified(path)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, EngineError) as error:
        logger.warning("engine cache: not used, built anew: %s", error)
        return None


def _verified(path: Path) -> dict[str, bytes]:
    _check_owner(path.lstat(), path, stat.S_ISDIR)
    manifest = json.loads(_content(path / MANIFEST, _MAX_MANIFEST_BYTES))
    if manifest["format"] != FORMAT or key_of(manifest["recipe"]) != path.name:
        raise EngineError(f"{path}: the manifest is of another entry")
    files = {}
    for name, wanted in manifest["files"].items():
        if Path(name).name != name:
            raise EngineError(f"{path}: the manifest names {name!r}, which is no file of it")
        files[name] = _content(path / name, _MAX_ENGINE_BYTES)
        if hashlib.sha256(files[name]).hexdigest() != wanted:
            raise EngineError(f"{path / name}: was altered after it was built")
    return files


def _content(path: Path, most_bytes: int) -> bytes:
    """Content of a regular file of this user, which nobody else may write; no link is followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        _check_owner(status, path, stat.S_ISREG)
        if status.st_size > most_bytes:
            raise EngineError(f"{path}: expected at most {most_bytes} bytes, got {status.st_size}")
        return file.read()


def _check_owner(status: os.stat_result, path: Path, kind: Callable[[int], bool]) -> None:
    if not kind(status.st_mode):
        raise EngineError(f"{path}: expected what this cache made, got a file of another kind or a link; remove it")
    if status.st_uid != os.geteuid():
        raise EngineError(f"{path}: expected to own it, its owner is user {status.st_uid}; remove it")
    if status.st_mode & _OTHERS_WRITE:
        raise EngineError(f"{path}: expected that nobody else may write it; chmod go-w it, or remove it")


def _clear(folder: Path, name: str) -> None:
    """Remove a bad entry, and what interrupted builds of it left behind. The lock is held, so nobody is at it."""
    for path in [folder / name, *folder.glob(f"{name}.partial-*")]:
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)


def _replaced(folder: Path, path: Path, recipe: Recipe, files: Mapping[str, bytes]) -> Entry:
    _clear(folder, path.name)
    _write(folder, path, recipe, files)
    return Entry(path, dict(files), built=True)


def _write(folder: Path, path: Path, recipe: Recipe, files: Mapping[str, bytes]) -> None:
    partial = Path(tempfile.mkdtemp(prefix=f"{path.name}.partial-", dir=folder))  # 0700
    manifest = {
        "format": FORMAT,
        "recipe": dict(recipe),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    for name, content in {**files, MANIFEST: json.dumps(manifest, indent=2).encode()}.items():
        descriptor = os.open(partial / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    partial.rename(path)
