# SPDX-License-Identifier: Apache-2.0
"""Score maps of any method on disk: one `.npz` an image with `score` (H, W) float and `label` (H, W) uint8.

The files are not trusted: sizes are looked at before anything is unpacked, and no object is ever made (no pickle).
"""

from __future__ import annotations

import io
import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.types import ByteArray
from vl_anomaly_ros.untrusted import plain, read_file

VOID = 255
LABELS = (0, 1, VOID)
MAX_PIXELS = 1 << 26
_MAX_FILE_BYTES = MAX_PIXELS * 9 + (1 << 16)  # float64 and uint8, and their headers
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_BROKEN = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, ValueError, TypeError, OverflowError, OSError, EOFError,
    RuntimeError, SyntaxError, tokenize.TokenError,
)  # fmt: skip


@dataclass(frozen=True)
class ScoreMapFile:
    """What a method said of an image, with the truth.

    Attributes:
        name: of the image.
        score: (H, W) float16, float32 or float64; higher = more anomalous.
        label: (H, W) uint8, 0 normal, 1 anomaly, 255 void.
    """

    name: str
    score: npt.NDArray[np.floating[Any]]
    label: ByteArray


class ScoreFolder:
    """The score maps of a folder, in the order of their names; can be read again and again.

    Args:
        folder: with at least one `*.npz`.

    Raises:
        EvaluationError: the folder is absent or holds none.
    """

    def __init__(self, folder: Path) -> None:
        self._files = sorted(folder.glob("*.npz")) if folder.is_dir() else []
        if not self._files:
            got = "a folder without any" if folder.is_dir() else "no folder"
            raise EvaluationError(
                f"{plain(str(folder))}: expected a folder with score maps *.npz (score, label), got {got}; "
                "write them with --save-scores, or np.savez"
            )

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[ScoreMapFile]:
        return map(read_map, self._files)


def read_map(path: Path) -> ScoreMapFile:
    """Read a score map.

    Raises:
        EvaluationError: the file is none, is too large, or holds other arrays.
    """
    arrays = read_arrays(path, ("score", "label"))
    score, label = arrays["score"], arrays["label"]
    what = plain(str(path))
    if score.dtype.kind != "f" or score.dtype.itemsize > 8 or score.ndim != 2 or not score.size:
        raise EvaluationError(
            f"{what}: score: expected (H, W) float16, float32 or float64, got {score.shape} {score.dtype}"
        )
    if label.dtype != np.uint8 or label.shape != score.shape:
        raise EvaluationError(f"{what}: label: expected {score.shape} uint8, got {label.shape} {label.dtype}")
    wrong = sorted(set(np.flatnonzero(np.bincount(label.ravel(), minlength=256)).tolist()) - set(LABELS))
    if wrong:
        raise EvaluationError(f"{what}: label: expected 0 normal, 1 anomaly, 255 void, got {wrong[0]} as well")
    return ScoreMapFile(path.stem, score, label)


def write_map(path: Path, score: npt.NDArray[np.floating[Any]], label: ByteArray) -> None:
    """Write a score map that `read_map` reads."""
    np.savez(path, score=score, label=label)


def read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    """Arrays of plain numbers of an `.npz` file, each of at most `MAX_PIXELS` elements of 8 bytes.

    Args:
        path: the file.
        names: of the arrays wanted; others in it are not looked at.

    Raises:
        EvaluationError: the file is no such archive, an array is absent, too large, or of objects.
    """
    content = read_file(path, _MAX_FILE_BYTES, EvaluationError)
    what = plain(str(path))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {member.filename: member for member in archive.infolist()}
            absent = [name for name in names if f"{name}.npy" not in members]
            if absent:
                raise EvaluationError(
                    f"{what}: expected the arrays {' and '.join(names)}, {' and '.join(absent)} is absent; "
                    f"np.savez(file, {', '.join(f'{name}=...' for name in names)}) writes them"
                )
            return {name: _array(archive, members[f"{name}.npy"], f"{what}: {name}") for name in names}
    except _BROKEN as error:
        words = plain(str(error))[:200]
        raise EvaluationError(f"{what}: expected an .npz archive of NumPy, got: {words}; write it anew") from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, what: str) -> npt.NDArray[Any]:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise EvaluationError(f"{what}: expected .npy of version 1 or 2, got {version}; write it anew")
        shape, fortran, dtype = _HEADERS[version](file)
        if dtype.hasobject or dtype.names or dtype.kind not in "fiub" or dtype.itemsize > 8:
            raise EvaluationError(f"{what}: expected plain numbers of up to 64 bits, got {plain(str(dtype))[:80]}")
        elements = math.prod(shape)
        if elements > MAX_PIXELS or any(length < 0 for length in shape):
            raise EvaluationError(f"{what}: expected at most {MAX_PIXELS} pixels, got {shape}; cut the images")
        data = file.read(elements * dtype.itemsize)
    if len(data) != elements * dtype.itemsize:
        raise EvaluationError(f"{what}: expected {elements} numbers, the file is cut short; write it anew")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(array, dtype.newbyteorder("="))
