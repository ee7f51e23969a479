# SPDX-License-Identifier: Apache-2.0
"""A bundle's graphs with the head's settings open to change, and the CLIP features of true regions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from vl_anomaly_ros.config import MethodConfig
from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.calibration import DEFAULT_METHOD
from vl_anomaly_ros.engine.terms import bank_with, terms_of
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.image_set import LabelledImage
from vl_anomaly_ros.evaluation.metrics import FloatArray
from vl_anomaly_ros.text.bank import TextBank, TextBankBuilder
from vl_anomaly_ros.text.tokenizer import Tokenizer

VISUAL_OUTPUTS = ("mask_logits", "class_logits", "mask_embeddings", "pixel_embeddings", "clip_features")
SOURCES = ("detector", "text", "clip")


class BundleRunner:
    """The three graphs of a bundle on the CPU, with the head's settings open to change.

    Args:
        bundle: verified bundle.
        threads: for ONNX Runtime.
        method: whose terms the score has, as `method.name` of the settings.
    """

    def __init__(self, bundle: Bundle, threads: int = 2, method: str = DEFAULT_METHOD) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3

        def session(file: str) -> onnxruntime.InferenceSession:
            return onnxruntime.InferenceSession(bundle.read(file), options, providers=["CPUExecutionProvider"])

        self.bundle = bundle
        self._visual, self._head, self._text = session("visual.onnx"), session("head.onnx"), session("text.onnx")
        self._tokenizer = Tokenizer(bundle.read("tokenizer.json"), bundle.context_length)
        builder = TextBankBuilder(self.encode, bundle.detector_classes, bundle.learned_prompt, bundle.prompt_templates)
        self.bank: TextBank = builder.build(bundle.vocabulary)
        self.method = method
        self.calibration = bundle.calibrations.get(method, bundle.calibration)
        self._terms = terms_of(MethodConfig(name=method), self.calibration)
        self._head_bank = bank_with(self._terms.bank, self.bank)

    @property
    def uses_aligned(self) -> bool:
        """Whether the aligned embeddings count in the method's score."""
        return self._terms.ensemble[0] > 0 or self._terms.source_weights[1] > 0

    def encode(self, texts: Any) -> FloatArray:
        """Return unit embeddings (N, D) float32 of texts."""
        return np.asarray(self._text.run(None, {"tokens": self._tokenizer(texts)})[0], np.float32)

    def visual(self, image: npt.NDArray[np.uint8]) -> dict[str, FloatArray]:
        """Run the visual graph on an RGB image of the network's size.

        Raises:
            EvaluationError: the image has another size.
        """
        wanted = (self.bundle.input_height, self.bundle.input_width, 3)
        if image.shape != wanted:
            raise EvaluationError(f"image: expected {wanted}, got {image.shape}; make the set at the network's size")
        outputs = self._visual.run(list(VISUAL_OUTPUTS), {"image": image[None]})
        return {name: np.asarray(value) for name, value in zip(VISUAL_OUTPUTS, outputs)}

    def head(
        self,
        visual: Mapping[str, FloatArray],
        weights: tuple[float, float, float] | None = None,
        temperatures: tuple[float, float] | None = None,
        clip_dense_weight: float | None = None,
    ) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int32]]:
        """Return score (h, w), sources (3, h, w) and class map (h, w); settings default to the method's."""
        terms = replace(
            self._terms,
            source_weights=weights or self._terms.source_weights,
            temperatures=temperatures or self._terms.temperatures,
            clip_dense_weight=self._terms.clip_dense_weight if clip_dense_weight is None else clip_dense_weight,
        )
        bank = self._head_bank
        feeds = {
            **visual,
            "text_bank": bank.text_bank,
            "aligned_mask": bank.aligned_mask,
            "clip_mask": bank.clip_mask,
            "group_matrix": bank.group_matrix,
            "detector_matrix": bank.detector_matrix,
            **vars(terms.head_settings()),
        }
        score, sources, class_map = self._head.run(["score", "sources", "class_map"], feeds)
        return np.asarray(score), np.asarray(sources), np.asarray(class_map)


def region_embedding(clip_features: FloatArray, mask: npt.NDArray[np.bool_]) -> FloatArray | None:
    """Return the unit mean of CLIP's dense features (D, hc, wc) under a mask (H, W), or None for an empty one."""
    height, width = clip_features.shape[1:]
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    if share.sum() <= 0:
        return None
    pooled = clip_features.reshape(len(clip_features), -1) @ share.reshape(-1)
    return np.asarray(pooled / max(float(np.linalg.norm(pooled)), 1e-6), np.float32)


def anomaly_regions(
    item: LabelledImage, visual: Mapping[str, FloatArray], min_region_px: int
) -> Iterator[tuple[Mapping[str, Any], FloatArray]]:
    """Yield each true anomaly's record and pooled CLIP embedding (D,)."""
    for record in item.objects:
        if record["known"]:
            continue
        mask = item.instances == record["instance"]
        if mask.sum() < min_region_px:
            continue
        embedding = region_embedding(visual["clip_features"], mask)
        if embedding is not None:
            yield record, embedding
