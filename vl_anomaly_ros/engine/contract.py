# SPDX-License-Identifier: Apache-2.0
"""The inputs and outputs that the graphs of a bundle must have."""

from __future__ import annotations

from collections.abc import Mapping

from vl_anomaly_ros.engine.bundle import MASK_STRIDE, Bundle
from vl_anomaly_ros.errors import BundleError

Dimension = int | str | None
"""A number, or a name or None where the graph leaves it open."""

Ports = Mapping[str, tuple[str, tuple[Dimension, ...]]]
"""Type and shape by name."""

# Letters: see CONTRACT below. Those in FREE change at run time and must be open in the graph.
_FREE = {"N", "C", "R", "G"}
_VISUAL: Ports = {
    "mask_logits": ("float32", ("Q", "h", "w")),
    "class_logits": ("float32", ("Q", "K+1")),
    "mask_embeddings": ("float32", ("Q", "D")),
    "pixel_embeddings": ("float32", ("D", "h", "w")),
    "clip_features": ("float32", ("D", "hc", "wc")),
}
CONTRACT: Mapping[str, tuple[Ports, Ports]] = {
    "visual.onnx": ({"image": ("uint8", (1, "H", "W", 3))}, _VISUAL),
    "text.onnx": ({"tokens": ("int64", ("N", "L"))}, {"embeddings": ("float32", ("N", "D"))}),
    "head.onnx": (
        {
            **_VISUAL,
            "text_bank": ("float32", ("C", "R", "D")),
            "aligned_mask": ("float32", ("C", "R")),
            "clip_mask": ("float32", ("C", "R")),
            "group_matrix": ("float32", ("G", "C")),
            "detector_matrix": ("float32", ("C", "K")),
            "source_weights": ("float32", (3,)),
            "temperatures": ("float32", (2,)),
            "text_pixel_weight": ("float32", (1,)),
            "clip_dense_weight": ("float32", (1,)),
            "ensemble": ("float32", (3,)),
        },
        {
            "score": ("float32", ("h", "w")),
            "sources": ("float32", (3, "h", "w")),
            "class_map": ("int32", ("h", "w")),
        },
    ),
}
"""Inputs and outputs of each graph: Q queries, K detector classes, D embedding size, H x W input, h x w masks,
hc x wc CLIP features, L token ids, N texts, C vocabulary classes, R prompts a class, G merge groups."""


def check_graph(file: str, inputs: Ports, outputs: Ports, bundle: Bundle) -> None:
    """Raise `BundleError` unless the graph's inputs and outputs are what `CONTRACT` and the bundle say.

    Args:
        file: which graph, a key of `CONTRACT`.
        inputs: what the graph declares.
        outputs: what the graph declares.
        bundle: gives the sizes.
    """
    sizes = {
        "H": bundle.input_height,
        "W": bundle.input_width,
        "h": bundle.input_height // MASK_STRIDE,
        "w": bundle.input_width // MASK_STRIDE,
        "K": len(bundle.detector_classes),
        "K+1": len(bundle.detector_classes) + 1,
        "D": bundle.embedding_size,
        "L": bundle.context_length,
    }
    for kind, have, want in zip(("input", "output"), (inputs, outputs), CONTRACT[file]):
        if missing := sorted(set(want) - set(have)):
            raise BundleError(f"{file}: expected the {kind} {missing[0]}, got {', '.join(have)}")
        if kind == "input" and (extra := sorted(set(have) - set(want))):
            raise BundleError(f"{file}: expected the inputs {', '.join(want)}, got also {extra[0]}")
        for name, (dtype, shape) in want.items():
            have_dtype, have_shape = have[name]
            if have_dtype != dtype or len(have_shape) != len(shape):
                raise BundleError(
                    f"{file}: {kind} {name}: expected {_text(dtype, shape)}, got {_text(have_dtype, have_shape)}"
                )
            for letter, size in zip(shape, have_shape):
                _check_dimension(f"{file}: {kind} {name}", letter, size, sizes)


def _check_dimension(what: str, letter: Dimension, size: Dimension, sizes: Mapping[str, int]) -> None:
    if not isinstance(size, int):
        return  # open in the graph: the arrays themselves are checked at warm-up
    if letter in _FREE:
        raise BundleError(f"{what}: expected {letter} to be open, got {size}; export it with that axis dynamic")
    expected = sizes.get(letter) if isinstance(letter, str) else letter
    if expected is not None and size != expected:
        raise BundleError(f"{what}: expected {letter} = {expected} as in bundle.yaml, got {size}")


def _text(dtype: str, shape: tuple[Dimension, ...]) -> str:
    return f"{dtype} [{', '.join('?' if n is None else str(n) for n in shape)}]"
