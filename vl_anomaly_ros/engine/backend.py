# SPDX-License-Identifier: Apache-2.0
"""What an inference backend does, and what goes in and out of the graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numba
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.compiled import kernel, view
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.text.bank import TextBank
from vl_anomaly_ros.types import ByteArray, FloatArray, IntArray


@dataclass(frozen=True)
class VisualOutput:
    """Outputs of visual.onnx, float32. Q queries, K detector classes, D embedding size, (h, w) a quarter of the input.

    A backend may hand out one that fetches some of them only when they are asked for. Until the next image it can; then
    asking for what was not fetched raises `EngineError`.

    Attributes:
        mask_logits: (Q, h, w).
        class_logits: (Q, K + 1), the last for no object.
        mask_embeddings: (Q, D) unit rows.
        pixel_embeddings: (D, h, w), unit length per pixel.
        clip_features: (D, hc, wc) dense features of frozen CLIP, not normalised.
    """

    mask_logits: FloatArray
    class_logits: FloatArray
    mask_embeddings: FloatArray
    pixel_embeddings: FloatArray
    clip_features: FloatArray

    def at_hand(self) -> dict[str, FloatArray]:
        """Those that lie on the host now, by name; nothing is fetched."""
        return dict(vars(self))


@dataclass(frozen=True)
class HeadSettings:
    """Numbers that the head takes at run time.

    Attributes:
        source_weights: (3,) float32 of the detector, text and CLIP scores.
        temperatures: (2,) float32 of the aligned and the CLIP softmax.
        text_pixel_weight: (1,) float32, 0..1: the pixels' alignment against the masks'.
        clip_dense_weight: (1,) float32, 0..1: CLIP at each pixel against CLIP under each mask.
        ensemble: (3,) float32, 0..1: share of the ensemble in the score, exponent of frozen CLIP for seen and for
            unseen classes.
    """

    source_weights: FloatArray
    temperatures: FloatArray
    text_pixel_weight: FloatArray
    clip_dense_weight: FloatArray
    ensemble: FloatArray


@dataclass(frozen=True)
class HeadOutput:
    """Outputs of head.onnx.

    Attributes:
        score: (h, w) float32, fused anomaly score before calibration, 0..1.
        sources: (3, h, w) float32, detector, text and CLIP scores, 0..1.
        class_map: (h, w) int32, most probable known class.
    """

    score: FloatArray
    sources: FloatArray
    class_map: IntArray


class Backend(Protocol):
    """Runs the three graphs of one bundle. Safe to call from several threads. Failures raise `EngineError`."""

    @property
    def name(self) -> str:
        """Such as "onnxruntime-cpu"."""

    @property
    def precision(self) -> str:
        """Arithmetic really in use, such as "fp32"."""

    @property
    def device(self) -> str:
        """Where it runs, such as "cpu"."""

    def visual(self, image: ByteArray) -> VisualOutput:
        """Features of a (1, H, W, 3) uint8 RGB network input.

        `clip_features` is at hand. What is not at hand has been looked through for NaN and infinity, which raise
        `EngineError`: the head need not show them.
        """

    def head(self, features: VisualOutput, bank: TextBank, settings: HeadSettings) -> HeadOutput:
        """Scores of features against a text bank."""

    def check(self, bank: TextBank) -> None:
        """Raise `EngineError` if a bank is larger than what this backend takes, before an image depends on it."""

    def text(self, tokens: npt.NDArray[np.int64]) -> FloatArray:
        """(N, D) unit embeddings of (N, L) token ids."""

    def close(self) -> None:
        """Free the device. Later calls raise `EngineError`."""


def check_finite(outputs: VisualOutput | HeadOutput) -> None:
    """Raise `EngineError` if an output that is at hand holds NaN or infinity: it must not pass as "no anomaly"."""
    numbers = {name: values for name, values in vars(outputs).items() if values.dtype.kind == "f"}
    strange = _first_strange(tuple(np.ascontiguousarray(values).reshape(-1) for values in numbers.values()))
    if strange >= 0:
        raise not_finite(list(numbers)[strange])


def closed() -> EngineError:
    """What is raised where a backend is used after `close`."""
    return EngineError("expected an open engine, got a closed one")


def not_finite(name: str) -> EngineError:
    """What is raised where the output `name` holds NaN or infinity."""
    return EngineError(
        f"{name}: expected finite numbers from the network, got NaN or infinity; "
        "check the image, and the bundle's precision on this device"
    )


_ARRAY = view(numba.float32, 1)


@kernel(*(numba.int64(numba.types.UniTuple(_ARRAY, count)) for count in (1, 2, 5)), long=True)
def _first_strange(arrays: tuple[FloatArray, ...]) -> int:
    """Number of the first array that holds NaN or infinity; -1 where none does."""
    for number in range(len(arrays)):
        values, strange = arrays[number], False
        for i in range(len(values)):  # told at the end: a loop with a way out would be several times slower
            strange |= not np.isfinite(values[i])
        if strange:
            return number
    return -1
