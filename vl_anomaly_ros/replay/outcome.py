# SPDX-License-Identifier: Apache-2.0
"""What the two ways of replay, offline and live, have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vl_anomaly_ros.replay.records import FrameRecord

Progress = Callable[[FrameRecord, int, int], None]
"""Called after each frame with its record, the number of frames done and the number of all frames."""


@dataclass
class Outcome:
    """What judging the frames gave, beside the frames themselves.

    Attributes:
        backend: what ran the network, such as "onnxruntime-cpu".
        bundle_sha256: which bundle.
        dropped: images for which no answer came at all.
    """

    backend: str = ""
    bundle_sha256: str = ""
    dropped: int = 0
