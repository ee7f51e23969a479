# SPDX-License-Identifier: Apache-2.0
"""What ONNX Runtime on the CPU says of one picture. A GPU is compared with it at each start; it is computed once.

Kept are the scores and no verdict: a GPU that computes something else today is found today. They lie in the user's
cache folder by the rules of the built engines: an entry appears whole or not at all, belongs to the user, is writable
by nobody else, and has the hashes of its manifest. Whatever is otherwise is computed anew.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from vl_anomaly_ros import __version__
from vl_anomaly_ros.engine.bundle import MASK_STRIDE, Bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.engine.tensorrt.cache import Entry, default_folder, find_or_build
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.types import ByteArray, FloatArray

MOST_ENTRIES = 16
"""Of so many bundles and versions the scores are kept; those that were computed first are removed."""
FILE = "score.f32"
_DTYPE = "<f4"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """Scores to compare with.

    Attributes:
        picture: (H, W, 3) uint8, of the bundle's input size.
        score: (h, w) float32, of the bundle's own vocabulary and the default method, before calibration.
        path: where they were found; None: they were computed now.
    """

    picture: ByteArray
    score: FloatArray
    path: Path | None


def reference_folder() -> Path:
    """`vl_anomaly_ros/references` in the user's cache folder, beside the built engines."""
    return default_folder().with_name("references")


def reference_of(bundle: Bundle, threads: int) -> Reference:
    """The scores of a bundle; computed where none are kept, or where the kept ones cannot be trusted.

    A folder that cannot be used is no error: they are then computed at each start, and the log says why.

    Args:
        bundle: verified.
        threads: of the CPU, 0: one for each core.

    Raises:
        BundleError, EngineError: the CPU cannot run the bundle.
    """
    picture = picture_of(bundle.input_width, bundle.input_height)
    computed: FloatArray | EngineError | None = None

    def compute() -> Mapping[str, bytes]:
        nonlocal computed
        try:
            computed = _score(bundle, picture, threads)
        except EngineError as error:
            computed = error
            raise
        return {FILE: computed.astype(_DTYPE).tobytes()}

    try:
        entry = find_or_build(reference_folder(), _recipe(bundle, picture), compute)
    except EngineError as error:
        if error is computed:
            raise
        logger.warning("scores of the CPU are not kept: %s", error)
    else:
        if entry.built:
            _remove_oldest(entry.path)
        elif (found := _found(entry, bundle)) is not None:
            return Reference(picture, found, entry.path)
        else:
            forget(entry.path)
    if not isinstance(computed, np.ndarray):
        computed = _score(bundle, picture, threads)
    return Reference(picture, computed, None)


def forget(path: Path) -> None:
    """Remove kept scores, so that they are computed anew."""
    shutil.rmtree(path, ignore_errors=True)


def picture_of(width: int, height: int) -> ByteArray:
    """(height, width, 3) uint8: soft patches of all colours with a little noise, the same each time."""
    rng = np.random.default_rng(0)
    patches = np.kron(rng.integers(0, 256, (8, 16, 3)), np.ones((-(-height // 8), -(-width // 16), 1), np.int64))
    noisy = patches[:height, :width] + rng.integers(-12, 13, (height, width, 3))
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def _recipe(bundle: Bundle, picture: ByteArray) -> dict[str, Any]:
    """Everything that the scores depend on; the bundle's hash is over its vocabulary and calibration too."""
    return {
        "bundle": bundle.sha256,
        "picture": hashlib.sha256(picture.tobytes()).hexdigest(),
        "onnxruntime": onnxruntime.__version__,
        "vl_anomaly_ros": __version__,
        "machine": platform.machine(),
    }


def _score(bundle: Bundle, picture: ByteArray, threads: int) -> FloatArray:
    logger.info("computing the scores of the CPU that the GPU is compared with")
    backend = OnnxRuntimeBackend(bundle, threads)
    try:
        return Engine(bundle, backend).run(picture).score
    finally:
        backend.close()


def _found(entry: Entry, bundle: Bundle) -> FloatArray | None:
    """The scores of an entry whose hashes are right; None where they are no scores of this bundle all the same."""
    shape = bundle.input_height // MASK_STRIDE, bundle.input_width // MASK_STRIDE
    content = entry.files.get(FILE, b"")
    if len(content) == shape[0] * shape[1] * np.dtype(_DTYPE).itemsize:
        score = np.frombuffer(content, _DTYPE).reshape(shape).astype(np.float32)
        if np.isfinite(score).all():
            return score
    logger.warning("%s: expected scores of %dx%d cells, got something else; computed anew", entry.path, *shape[::-1])
    return None


def _remove_oldest(kept: Path) -> None:
    """All but the newest `MOST_ENTRIES`, and `kept`; what others remove at the same moment is no error."""
    with suppress(OSError):
        others = [path for path in kept.parent.iterdir() if path.is_dir() and path != kept]
        others.sort(key=lambda path: path.lstat().st_mtime_ns, reverse=True)
        for path in others[MOST_ENTRIES - 1 :]:
            forget(path)
            path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
