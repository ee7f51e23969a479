# SPDX-License-Identifier: Apache-2.0
"""The shipped bundle's engine, but for the network: prepared outputs after a set time, everything around it real."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import replace
from time import perf_counter, sleep

import cv2
import numpy as np
import numpy.typing as npt

from bench.node_parts.scene import blobs
from vl_anomaly_ros.config import EngineConfig
from vl_anomaly_ros.engine.backend import HeadOutput, HeadSettings, VisualOutput
from vl_anomaly_ros.engine.bundle import MASK_STRIDE, default_bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.engine.preprocess import Letterbox
from vl_anomaly_ros.text.bank import TextBank
from vl_anomaly_ros.types import ByteArray, FloatArray


class StubBackend:
    """Answers with the real network's outputs for a picture of noise, anomalous on the instances of a scene.

    Args:
        real: runs the text encoder, and the other graphs once.
        instances: (H, W) of the scene, see `blobs`.
        network: width and height of the network's input.
        engine_ms: how long `visual` takes.
        burn: keep a core busy meanwhile, as a network on the CPU does; else sleep, as one waits for a GPU.
        alone: one image at a time, as on a GPU that one image fills.
    """

    precision = "none"
    device = "none"

    def __init__(
        self,
        real: OnnxRuntimeBackend,
        instances: npt.NDArray[np.uint16],
        network: tuple[int, int],
        engine_ms: float,
        *,
        burn: bool = False,
        alone: bool = False,
    ) -> None:
        self.name = f"stub-{engine_ms:g}ms"
        self._real = real
        self._seconds = engine_ms * 1e-3
        self._burn = burn
        self._turn = threading.Lock() if alone else nullcontext()
        noise = np.random.default_rng(0).integers(0, 255, (1, network[1], network[0], 3), np.uint8)
        self._features = real.visual(noise)
        box = Letterbox.fit(instances.shape[1], instances.shape[0], *network)
        score = np.zeros((network[1] // MASK_STRIDE, network[0] // MASK_STRIDE), np.float32)
        box.crop(score)[:] = blobs(instances, box.height // MASK_STRIDE, box.width // MASK_STRIDE)
        self._score = score
        self._heads: dict[int, HeadOutput] = {}

    def visual(self, image: ByteArray) -> VisualOutput:
        """The prepared features, after the set time."""
        if self._burn:
            until_s = perf_counter() + self._seconds
            while perf_counter() < until_s:
                cv2.blur(image[0], (31, 31))
        elif self._seconds > 0:
            with self._turn:
                sleep(self._seconds)
        return self._features

    def head(self, features: VisualOutput, bank: TextBank, settings: HeadSettings) -> HeadOutput:
        """The prepared scores; the class map is that of the real head for this bank."""
        if id(bank) not in self._heads:
            self._heads = {id(bank): replace(self._real.head(features, bank, settings), score=self._score)}
        return self._heads[id(bank)]

    def check(self, bank: TextBank) -> None:
        """Any bank is taken."""

    def text(self, tokens: npt.NDArray[np.int64]) -> FloatArray:
        """Real embeddings."""
        return self._real.text(tokens)

    def close(self) -> None:
        """Free the real backend."""
        self._real.close()


def make_engine(
    config: EngineConfig, instances: npt.NDArray[np.uint16], engine_ms: float, *, burn: bool, alone: bool = False
) -> Engine:
    """An engine of the shipped bundle on a `StubBackend`."""
    bundle = default_bundle()
    real = OnnxRuntimeBackend(bundle, config.threads)
    network = (bundle.input_width, bundle.input_height)
    return Engine(bundle, StubBackend(real, instances, network, engine_ms, burn=burn, alone=alone))
