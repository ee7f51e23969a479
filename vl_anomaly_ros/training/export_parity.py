# SPDX-License-Identifier: Apache-2.0
"""Whether the graphs of a bundle compute what the modules computed that they were traced from."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vl_anomaly_ros.config import MethodConfig
from vl_anomaly_ros.engine.backend import HeadOutput, HeadSettings, VisualOutput
from vl_anomaly_ros.engine.bundle import DATA_FILES, FILES, Bundle, load_bundle
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.engine.terms import terms_of
from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.model import head, visual
from vl_anomaly_ros.text.bank import TextBank, TextBankBuilder
from vl_anomaly_ros.text.tokenizer import Tokenizer
from vl_anomaly_ros.text.vocabulary import KnownClass, Vocabulary
from vl_anomaly_ros.types import ByteArray, FloatArray

TOLERANCE = 1e-3
"""Largest difference of a score, and of a text embedding's component."""
OUTLIERS = ("animal", "object", "debris")


@dataclass(frozen=True)
class Reference:
    """What the modules computed, before they were freed.

    Attributes:
        image: (1, H, W, 3) uint8 RGB.
        outputs: of the visual network, in the order of `visual.OUTPUT_NAMES`.
        texts: sentences.
        embeddings: (N, D) of them.
        seconds: of the visual network for the image.
    """

    image: ByteArray
    outputs: tuple[FloatArray, ...]
    texts: tuple[str, ...]
    embeddings: FloatArray
    seconds: float


def reference_of(
    network: Callable[[Tensor], tuple[Tensor, ...]], encode: Callable[[tuple[str, ...]], Tensor],
    classes: tuple[str, ...], width_px: int, height_px: int,
) -> Reference:  # fmt: skip
    """Run the modules once on a random image and on the classes' prompts."""
    image = np.random.default_rng(0).integers(0, 256, (1, height_px, width_px, 3), dtype=np.uint8)
    texts = tuple(f"a photo of a {name}." for name in classes)
    began = time.perf_counter()
    with torch.no_grad():
        outputs = tuple(value.numpy() for value in network(torch.from_numpy(image)))
    seconds = time.perf_counter() - began
    return Reference(image, outputs, texts, encode(texts).numpy(), seconds)


def check_parity(folder: Path, reference: Reference, threads: int) -> dict[str, Any]:
    """Run the bundle in ONNX Runtime on the CPU and compare.

    Args:
        folder: a whole bundle.
        reference: of the modules that it was exported from.
        threads: of the CPU.

    Returns:
        Largest absolute differences, sizes and times, as plain values.

    Raises:
        TrainingError: a graph computes something else.
        BundleError, EngineError: the bundle is not one.
    """
    bundle = load_bundle(folder)
    backend = OnnxRuntimeBackend(bundle, threads)
    try:
        _, first_s = timed(lambda: backend.visual(reference.image))  # allocates
        features, visual_s = timed(lambda: backend.visual(reference.image))
        tokenizer = Tokenizer(bundle.read("tokenizer.json"), bundle.context_length)
        tokens = tokenizer(reference.texts)
        embeddings, text_s = timed(lambda: backend.text(tokens))
        settings = terms_of(MethodConfig(), bundle.calibration).head_settings()
        bank = _bank(bundle, lambda texts: backend.text(tokenizer(texts)))
        eager = VisualOutput(*reference.outputs)
        backend.head(features, bank, settings)
        whole, head_s = timed(lambda: backend.head(features, bank, settings))
        alone = backend.head(eager, bank, settings)
    finally:
        backend.close()
    wanted = eager_head(eager, bank, settings)
    figures = {
        "measured": f"one random image of {bundle.input_width}x{bundle.input_height}, ONNX Runtime, CPU, fp32, "
        f"{threads} threads, against PyTorch",
        "score_max_abs": largest(whole.score, wanted.score),
        "sources_max_abs": largest(whole.sources, wanted.sources),
        "head_alone_max_abs": largest(alone.score, wanted.score),
        "text_max_abs": largest(embeddings, reference.embeddings),
        "class_map_equal_share": float(np.mean(whole.class_map == wanted.class_map)),
        "visual_max_abs": {
            name: largest(getattr(features, name), getattr(eager, name)) for name in visual.OUTPUT_NAMES
        },
        "score_spread": [float(wanted.score.min()), float(wanted.score.max())],
        "eager_visual_s": round(reference.seconds, 3),
        "first_visual_s": round(first_s, 3),
        "visual_s": round(visual_s, 3),
        "head_s": round(head_s, 4),
        "text_s_each": round(text_s / len(reference.texts), 4),
        "megabytes": {
            file: round((folder / file).stat().st_size / 1e6, 1)
            for file in (*FILES, *DATA_FILES)
            if (folder / file).is_file()
        },
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
    }
    for key in ("score_max_abs", "head_alone_max_abs", "text_max_abs"):
        if not figures[key] <= TOLERANCE:  # so that NaN is refused too
            raise TrainingError(
                f"parity: expected {key} of at most {TOLERANCE}, got {figures[key]:.3g}; the graphs do not compute "
                "what PyTorch computes: nothing was written, try another version of torch or onnxruntime"
            )
    return figures


def eager_head(features: VisualOutput, bank: TextBank, settings: HeadSettings) -> HeadOutput:
    """The head in PyTorch."""
    values = {**vars(features), **vars(bank), **vars(settings)}
    with torch.no_grad():
        outputs = head.Head().eval()(*(torch.from_numpy(values[name]) for name in head.INPUT_NAMES))
    return HeadOutput(*(value.numpy() for value in outputs))


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What the call returns, and its seconds."""
    began = time.perf_counter()
    value = call()
    return value, time.perf_counter() - began


def largest(have: FloatArray, want: FloatArray) -> float:
    """Largest absolute difference; NaN where one is."""
    return float(np.abs(have.astype(np.float64) - want).max())


def _bank(bundle: Bundle, encode: Callable[[Any], FloatArray]) -> TextBank:
    """The detector's classes and some outliers: small, however many words the bundle's vocabulary has."""
    words = Vocabulary(
        tuple(KnownClass(name) for name in bundle.detector_classes),
        tuple(word for word in OUTLIERS if word not in bundle.detector_classes),
    )
    builder = TextBankBuilder(encode, bundle.detector_classes, bundle.learned_prompt, bundle.prompt_templates)
    return builder.build(words)
