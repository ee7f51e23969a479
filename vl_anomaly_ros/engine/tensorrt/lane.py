# SPDX-License-Identifier: Apache-2.0
"""What the GPU holds for one image in work: a stream, execution contexts, and what the image engine said."""

from __future__ import annotations

import logging
import threading

from vl_anomaly_ros.engine.backend import HeadOutput, HeadSettings, VisualOutput, closed
from vl_anomaly_ros.engine.tensorrt.device import Device
from vl_anomaly_ros.engine.tensorrt.features import FEATURES, FeaturesOnGpu
from vl_anomaly_ros.engine.tensorrt.finite import FiniteCheck
from vl_anomaly_ros.engine.tensorrt.library import Library
from vl_anomaly_ros.engine.tensorrt.network import Loaded, Network
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.text.bank import TextBank
from vl_anomaly_ros.types import ByteArray, FloatArray

_BANK = ("text_bank", "aligned_mask", "clip_mask", "group_matrix", "detector_matrix")
_EACH_FRAME = ("clip_features",)
"""Features that come to the host: names are made of them."""

_HANGS_S = 10.0
"""So long closing waits for the image in work."""

logger = logging.getLogger(__name__)


class Lane:
    """One image after another; a lock keeps several threads apart.

    What lanes copy and compute runs side by side on the GPU, as far as it has room.

    Args:
        library: TensorRT or TensorRT-RTX.
        visual: the image engine; lanes may share it, for none of its shapes changes.
        head: the head's plan. Each lane loads it anew: contexts of one engine must not share a range of shapes, and it
            has no weights.

    Raises:
        EngineError: the memory does not suffice, or the engine is of another version or device.
    """

    def __init__(self, library: Library, visual: Loaded, head: bytes) -> None:
        self._lock = threading.RLock()  # what is read of features inside `head` may be fetched
        self._device: Device | None = Device()
        try:
            device = self._device
            self.visual_network = Network(library, visual, device, "visual", graph=True)
            self.on_gpu = {name: self.visual_network.outputs[name] for name in FEATURES}
            loaded = Loaded.of(library, head, device, "head")
            self.head_network = Network(library, loaded, device, "head", self.on_gpu, graph=True)
            self.finite = _finite_check(device)
        except BaseException:
            self._device.close()
            raise
        self._features: VisualOutput | None = None  # that lie on the GPU
        self._bank: TextBank | None = None

    def visual(self, image: ByteArray) -> VisualOutput:
        """Features of a (1, H, W, 3) uint8 RGB network input."""
        with self._lock:
            self._open()
            self._features = None
            self.visual_network.put("image", image)
            self.visual_network.run()
            if self.finite is not None:
                self.finite.begin(self.on_gpu)
            at_hand = self.visual_network.get(*(FEATURES if self.finite is None else _EACH_FRAME))
            if self.finite is not None:
                self.finite.check()
            self._features = FeaturesOnGpu(at_hand, self)
            return self._features

    def head(self, features: VisualOutput, bank: TextBank, settings: HeadSettings) -> HeadOutput:
        """Scores of features against a text bank. Those of an earlier image are brought back, if all are at hand."""
        with self._lock:
            self._open()
            if features is not self._features:
                values = {name: getattr(features, name) for name in FEATURES}
                self._features = None
                for name, value in values.items():
                    self.visual_again(name, value)
                self._features = features
            if bank is not self._bank:
                self._bank = None
                for name in _BANK:
                    self.head_network.put(name, getattr(bank, name))
                self._bank = bank
            for name, value in vars(settings).items():
                self.head_network.put(name, value)
            self.head_network.run()
            return HeadOutput(**self.head_network.get())

    def check(self, bank: TextBank) -> None:
        """Raise `EngineError` if the head was not built for so many classes and prompts."""
        for name in _BANK:
            self.head_network.check(name, getattr(bank, name))

    def fetch(self, features: FeaturesOnGpu, name: str) -> FloatArray:
        """One of the features that were left on the GPU.

        Raises:
            EngineError: they are of an earlier image.
        """
        with self._lock:
            self._open()
            if features is not self._features:
                raise EngineError(
                    f"{name}: expected features of the image that is on the GPU, got those of an earlier one, not read "
                    "in time; run that image again"
                )
            value: FloatArray = self.visual_network.get(name)[name]
            return value

    def visual_again(self, name: str, value: FloatArray) -> None:
        """Put features where the visual engine would have left them."""
        buffer, device = self.on_gpu[name], self._open()
        if value.shape != buffer.most or value.dtype != buffer.dtype:
            raise EngineError(f"{name}: expected features of this engine, got {value.dtype} {value.shape}")
        place: FloatArray = buffer.pinned.view(buffer.dtype).reshape(value.shape)
        place[...] = value
        device.upload(buffer.pointer, buffer.pinned, value.nbytes)

    def close(self) -> None:
        """Give back what it holds, when the image in work is done. Memory of one that hangs is left to it."""
        if not self._lock.acquire(timeout=_HANGS_S):
            logger.error("an image has been on the GPU for more than %g s: its memory is not given back", _HANGS_S)
            return
        try:
            if self._device is not None:
                self._device.close()
                self._device = None
        finally:
            self._lock.release()

    def _open(self) -> Device:
        if self._device is None:
            raise closed()
        return self._device


def _finite_check(device: Device) -> FiniteCheck | None:
    """None where the GPU cannot look for NaN: every feature is then copied to the host, where the engine does."""
    try:
        return FiniteCheck(device, len(FEATURES))
    except EngineError as error:
        logger.warning("NaN is looked for on the host, which costs a copy of all features: %s", error)
        device.forget_error()
        return None
