# SPDX-License-Identifier: Apache-2.0
"""The head's formulas in plain numpy and double precision, written for reading, to check graphs against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def reference_head(inputs: Mapping[str, npt.NDArray[Any]]) -> tuple[Array, Array, npt.NDArray[np.int64]]:
    """Score (h, w), sources (3, h, w) and class map (h, w) from the inputs of head.onnx by their names."""
    v = {name: np.asarray(value, np.float64) for name, value in inputs.items()}
    queries, h, w = v["mask_logits"].shape
    classes, _, _ = v["text_bank"].shape
    _, hc, wc = v["clip_features"].shape
    masks = 1 / (1 + np.exp(-v["mask_logits"]))
    c = softmax(v["class_logits"], axis=1)
    weight = 1 - c[:, -1]

    def p(embedding: Array, mask: Array, tau: float) -> Array:
        """Class probabilities of one unit embedding (D,)."""
        logits = np.full(classes, -np.inf)
        for index in range(classes):
            rows = v["text_bank"][index][mask[index] > 0]
            if len(rows):
                logits[index] = max(rows @ embedding) / tau
        return softmax(logits, axis=0) if np.isfinite(logits).any() else np.zeros(classes)

    def over_masks(per_query: Array) -> Array:
        """(C, h, w) mask-weighted mean of (Q, C)."""
        total = np.zeros((classes, h, w))
        for q in range(queries):
            total += weight[q] * masks[q] * per_query[q][:, None, None]
        return np.asarray(total / np.maximum(np.einsum("q,qyx->yx", weight, masks), 0.1))

    tau_aligned, tau_clip = v["temperatures"]
    p_detector = np.einsum("qk,qyx->kyx", c[:, :-1], masks)
    p_detector = p_detector / np.maximum(p_detector.sum(axis=0), 1)
    p_detector = np.einsum("ck,kyx->cyx", v["detector_matrix"], p_detector)

    p_pixel = np.zeros((classes, h, w))
    for y in range(h):
        for x in range(w):
            p_pixel[:, y, x] = p(v["pixel_embeddings"][:, y, x], v["aligned_mask"], tau_aligned)
    p_query = np.array([p(e, v["aligned_mask"], tau_aligned) for e in v["mask_embeddings"]])
    pixels = v["text_pixel_weight"][0]
    p_text = pixels * p_pixel + (1 - pixels) * over_masks(p_query)

    coarse = masks.reshape(queries, hc, h // hc, wc, w // wc).mean(axis=(2, 4))
    pooled = np.einsum("qyx,dyx->qd", coarse, v["clip_features"])
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    p_query_clip = np.array([p(g, v["clip_mask"], tau_clip) for g in pooled])
    dense = v["clip_features"] / np.linalg.norm(v["clip_features"], axis=0)
    p_dense = np.zeros((classes, hc, wc))
    for y in range(hc):
        for x in range(wc):
            p_dense[:, y, x] = p(dense[:, y, x], v["clip_mask"], tau_clip)
    share = v["clip_dense_weight"][0]
    p_clip = (1 - share) * over_masks(p_query_clip) + share * upsampled(p_dense, h, w)

    whole, of_seen, of_unseen = v["ensemble"]
    exponent = np.where(v["detector_matrix"].max(axis=1) > 0, of_seen, of_unseen)
    both = p_query ** (1 - exponent) * p_query_clip**exponent * (p_query > 0) * (p_query_clip > 0)
    p_ensemble = over_masks(both / np.maximum(both.sum(axis=1, keepdims=True), 1e-12))

    sources = np.array([1 - np.einsum("gc,cyx->gyx", v["group_matrix"], each).max(axis=0)
                        for each in (p_detector, p_text, p_clip)]).clip(0, 1)  # fmt: skip
    weights = v["source_weights"]
    score = np.einsum("s,syx->yx", weights, sources) / weights.sum()
    doubt = (1 - np.einsum("gc,cyx->gyx", v["group_matrix"], p_ensemble).max(axis=0)).clip(0, 1)
    score = (1 - whole) * score + whole * doubt
    votes = (weights[0] * p_detector + weights[1] * p_text + weights[2] * p_clip) / weights.sum()
    votes = (1 - whole) * votes + whole * p_ensemble
    votes[v["group_matrix"].max(axis=0) == 0] = -np.inf
    return score, sources, votes.argmax(axis=0)


def softmax(logits: Array, axis: int) -> Array:
    e = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def upsampled(maps: Array, h: int, w: int) -> Array:
    """Bilinear, pixel centres at half-integers, borders repeated."""

    def weights(n: int, cells: int) -> Array:
        centre = np.clip((np.arange(n) + 0.5) * cells / n - 0.5, 0, cells - 1)
        return np.asarray(np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(cells)[None])))

    return np.asarray(np.einsum("yi,cij,xj->cyx", weights(h, maps.shape[1]), maps, weights(w, maps.shape[2])))
