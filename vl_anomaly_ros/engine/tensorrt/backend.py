# SPDX-License-Identifier: Apache-2.0
"""A bundle's three graphs as TensorRT engines: what the visual engine says stays on the GPU for the head."""

from __future__ import annotations

import logging
import threading
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.engine.backend import HeadOutput, HeadSettings, VisualOutput, closed
from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.tensorrt.build import TEXTS, BuildSettings
from vl_anomaly_ros.engine.tensorrt.device import Device
from vl_anomaly_ros.engine.tensorrt.engines import Report, engines_of
from vl_anomaly_ros.engine.tensorrt.features import FeaturesOnGpu
from vl_anomaly_ros.engine.tensorrt.lane import Lane
from vl_anomaly_ros.engine.tensorrt.library import Library
from vl_anomaly_ros.engine.tensorrt.network import Loaded, Network
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.text.bank import TextBank
from vl_anomaly_ros.types import ByteArray, FloatArray

logger = logging.getLogger(__name__)


class TensorRtBackend:
    """Engines from the cache, built into it where they are absent.

    As many images at once as there are lanes, each in a thread of its own: a thread keeps to one lane. Outputs of the
    visual engine stay on the GPU, where the head reads them and NaN is looked for; the host gets what names are made
    of, and the rest when somebody reads it before the thread's next image. Visual and head are launched as CUDA graphs
    where the library allows it.

    Args:
        bundle: verified bundle.
        library: TensorRT or TensorRT-RTX.
        settings: of the engines; the compute capability is the device's where the library builds ahead of time.
        report: called as the engines are built.
        parallel: lanes. Of more threads than lanes some would overwrite the image of another.

    Raises:
        BundleError: the bundle is not what was verified.
        EngineError: no GPU, not enough memory, or an engine that cannot be built or run.
    """

    def __init__(
        self,
        bundle: Bundle,
        library: Library,
        settings: BuildSettings | None = None,
        report: Report | None = None,
        parallel: int = 1,
    ) -> None:
        settings = settings or BuildSettings()
        self.lanes: list[Lane] = []
        self._lane_of: WeakKeyDictionary[threading.Thread, Lane] = WeakKeyDictionary()
        self._choosing, self._encoding = threading.Lock(), threading.Lock()
        self._device: Device | None = Device()  # for texts: a new word makes no image wait
        try:
            entry, _ = engines_of(library, bundle, settings.on(library, self._device), report=report)
            plans = entry.files
            visual = Loaded.of(library, plans["visual.engine"], self._device, "visual")
            text = Loaded.of(library, plans["text.engine"], self._device, "text")
            self._text = Network(library, text, self._device, "text")
            for _ in range(parallel):
                self.lanes.append(self._new_lane(library, visual, plans["head.engine"], parallel))
        except BaseException:
            self.close()
            raise
        self.name = library.name
        self.precision = settings.precision
        self.device = f"{self._device.name} (compute capability {self._device.compute_capability})"
        logger.info("%s %s on %s, %s", library.name, library.version, self.device, self.precision)

    @property
    def replayed(self) -> list[str]:
        """Which of "visual" and "head" run as CUDA graphs now, on every lane."""
        networks = [(lane.visual_network, lane.head_network) for lane in self.lanes]
        of_kind = zip(("visual", "head"), zip(*networks))
        return [name for name, each in of_kind if all(network.replays for network in each)]

    def visual(self, image: ByteArray) -> VisualOutput:
        """Features of a (1, H, W, 3) uint8 RGB network input."""
        return self._lane().visual(image)

    def head(self, features: VisualOutput, bank: TextBank, settings: HeadSettings) -> HeadOutput:
        """Scores of features against a text bank. Those of an earlier image are brought back, if all are at hand."""
        lane = features.lane if isinstance(features, FeaturesOnGpu) else None
        return (lane if lane in self.lanes else self._lane()).head(features, bank, settings)

    def check(self, bank: TextBank) -> None:
        """Whether the head was built for so many classes and prompts."""
        self.lanes[0].check(bank)

    def text(self, tokens: npt.NDArray[np.int64]) -> FloatArray:
        """(N, D) unit embeddings of (N, L) token ids."""
        rows = []
        with self._encoding:
            if self._device is None:
                raise closed()
            for start in range(0, len(tokens), TEXTS):
                self._text.put("tokens", tokens[start : start + TEXTS])
                self._text.run()
                rows.append(self._text.get()["embeddings"])
        return np.concatenate(rows)

    def close(self) -> None:
        """Free the device, when the images in work are done."""
        for lane in self.lanes:
            lane.close()
        with self._encoding:
            if self._device is not None:
                self._device.close()
                self._device = None

    def _new_lane(self, library: Library, visual: Loaded, head: bytes, parallel: int) -> Lane:
        """One more. Fewer than there are threads would not do: one's image would be overwritten by another's."""
        try:
            return Lane(library, visual, head)
        except EngineError as error:
            if not self.lanes:
                raise
            raise EngineError(
                f"engine.parallel: expected room on the GPU for {parallel} images at once, there is room for "
                f"{len(self.lanes)}: {error}; set it lower"
            ) from error

    def _lane(self) -> Lane:
        """That of this thread; a new thread gets the one that the fewest others use."""
        thread = threading.current_thread()
        with self._choosing:
            if thread not in self._lane_of:
                taken = [lane for other, lane in self._lane_of.items() if other.is_alive()]
                self._lane_of[thread] = min(self.lanes, key=taken.count)
            return self._lane_of[thread]
