# SPDX-License-Identifier: Apache-2.0
"""A bundle's three graphs as TensorRT engines: what the visual engine says stays on the GPU for the head."""

from __future__ import annotations

import logging
import threading

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.engine.backend import HeadOutput, HeadSettings, VisualOutput
from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.tensorrt.build import TEXTS, BuildSettings
from vl_anomaly_ros.engine.tensorrt.device import Device
from vl_anomaly_ros.engine.tensorrt.engines import Report, engines_of
from vl_anomaly_ros.engine.tensorrt.features import FEATURES, FeaturesOnGpu
from vl_anomaly_ros.engine.tensorrt.finite import FiniteCheck
from vl_anomaly_ros.engine.tensorrt.library import Library
from vl_anomaly_ros.engine.tensorrt.network import Network
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.text.bank import TextBank
from vl_anomaly_ros.types import ByteArray, FloatArray

_BANK = ("text_bank", "aligned_mask", "clip_mask", "group_matrix", "detector_matrix")
_EACH_FRAME = ("clip_features",)
"""Features that come to the host: names are made of them."""

logger = logging.getLogger(__name__)


class TensorRtBackend:
    """Engines from the cache, built into it where they are absent.

    One image after another; a lock keeps several threads apart. Outputs of the visual engine stay on the GPU, where the
    head reads them and NaN is looked for; the host gets those of `_EACH_FRAME`, and others when somebody reads them
    before the next image. Both graphs are launched as CUDA graphs where the library allows it.

    Args:
        bundle: verified bundle.
        library: TensorRT or TensorRT-RTX.
        settings: of the engines; the compute capability is the device's where the library builds ahead of time.
        report: called as the engines are built.

    Raises:
        BundleError: the bundle is not what was verified.
        EngineError: no GPU, not enough memory, or an engine that cannot be built or run.
    """

    def __init__(
        self, bundle: Bundle, library: Library, settings: BuildSettings | None = None, report: Report | None = None
    ) -> None:
        settings = settings or BuildSettings()
        self._lock = threading.RLock()  # what is read of features inside `head` may be fetched
        self._device: Device | None = Device()
        try:
            entry, _ = engines_of(library, bundle, settings.on(library, self._device), report=report)
            plans = entry.files
            self._visual = Network(library, plans["visual.engine"], self._device, "visual", graph=True)
            self._on_gpu = {name: self._visual.outputs[name] for name in FEATURES}
            self._head = Network(library, plans["head.engine"], self._device, "head", self._on_gpu, graph=True)
            self._text = Network(library, plans["text.engine"], self._device, "text")
            self._finite = _finite_check(self._device)
        except BaseException:
            self._device.close()
            raise
        self.name = library.name
        self.precision = settings.precision
        self.device = f"{self._device.name} (compute capability {self._device.compute_capability})"
        self._features: VisualOutput | None = None  # that lie on the GPU
        self._bank: TextBank | None = None
        logger.info("%s %s on %s, %s", library.name, library.version, self.device, self.precision)

    @property
    def replayed(self) -> list[str]:
        """Which of "visual" and "head" run as CUDA graphs now."""
        return [name for name, network in (("visual", self._visual), ("head", self._head)) if network.replays]

    def visual(self, image: ByteArray) -> VisualOutput:
        """Features of a (1, H, W, 3) uint8 RGB network input."""
        with self._lock:
            self._open()
            self._features = None
            self._visual.put("image", image)
            self._visual.run()
            if self._finite is not None:
                self._finite.begin(self._on_gpu)
            at_hand = self._visual.get(*(FEATURES if self._finite is None else _EACH_FRAME))
            if self._finite is not None:
                self._finite.check()
            self._features = FeaturesOnGpu(at_hand, self._fetch)
            return self._features

    def head(self, features: VisualOutput, bank: TextBank, settings: HeadSettings) -> HeadOutput:
        """Scores of features against a text bank. Those of an earlier image are brought back, if all are at hand."""
        with self._lock:
            self._open()
            if features is not self._features:
                values = {name: getattr(features, name) for name in FEATURES}
                self._features = None
                for name, value in values.items():
                    self._visual_again(name, value)
                self._features = features
            if bank is not self._bank:
                self._bank = None
                for name in _BANK:
                    self._head.put(name, getattr(bank, name))
                self._bank = bank
            for name, value in vars(settings).items():
                self._head.put(name, value)
            self._head.run()
            return HeadOutput(**self._head.get())

    def check(self, bank: TextBank) -> None:
        """Whether the head was built for so many classes and prompts."""
        for name in _BANK:
            self._head.check(name, getattr(bank, name))

    def text(self, tokens: npt.NDArray[np.int64]) -> FloatArray:
        """(N, D) unit embeddings of (N, L) token ids."""
        rows = []
        with self._lock:
            self._open()
            for start in range(0, len(tokens), TEXTS):
                self._text.put("tokens", tokens[start : start + TEXTS])
                self._text.run()
                rows.append(self._text.get()["embeddings"])
        return np.concatenate(rows)

    def close(self) -> None:
        """Free the device."""
        with self._lock:
            if self._device is not None:
                self._device.close()
                self._device = None

    def _fetch(self, features: FeaturesOnGpu, name: str) -> FloatArray:
        with self._lock:
            self._open()
            if features is not self._features:
                raise EngineError(
                    f"{name}: expected features of the image that is on the GPU, got those of an earlier one, not read "
                    "in time; run that image again"
                )
            value: FloatArray = self._visual.get(name)[name]
            return value

    def _visual_again(self, name: str, value: FloatArray) -> None:
        """Put features where the visual engine would have left them."""
        buffer, device = self._visual.outputs[name], self._open()
        if value.shape != buffer.most or value.dtype != buffer.dtype:
            raise EngineError(f"{name}: expected features of this engine, got {value.dtype} {value.shape}")
        place: FloatArray = buffer.pinned.view(buffer.dtype).reshape(value.shape)
        place[...] = value
        device.upload(buffer.pointer, buffer.pinned, value.nbytes)

    def _open(self) -> Device:
        if self._device is None:
            raise EngineError("expected an open engine, got a closed one")
        return self._device


def _finite_check(device: Device) -> FiniteCheck | None:
    """None where the GPU cannot look for NaN: every feature is then copied to the host, where the engine does."""
    try:
        return FiniteCheck(device, len(FEATURES))
    except EngineError as error:
        logger.warning("NaN is looked for on the host, which costs a copy of all features: %s", error)
        device.forget_error()
        return None
