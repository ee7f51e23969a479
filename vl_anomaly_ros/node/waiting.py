# SPDX-License-Identifier: Apache-2.0
"""How a frame waits for what belongs to it: woken by what comes, up to a limit, and not in vain again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from vl_anomaly_ros.assembly import TransformSource
from vl_anomaly_ros.node.misses import Miss, Misses, RecordingSource
from vl_anomaly_ros.node.patience import Patience
from vl_anomaly_ros.types import Frame

INFO, INFO_OF_IMAGE, CLOUD = "CameraInfo", "CameraInfo of the same stamp", "point cloud"
_POLL_S = 0.05  # nobody tells when a publisher goes; everything else wakes the wait
_COMPLETE_S = 1.0

Attempt = Callable[[RecordingSource], tuple[Frame, set[str]]]


class Waiting:
    """Waits for the things of one camera, in the thread of a worker. All else may be called from any thread.

    A thing goes by its name: INFO, INFO_OF_IMAGE, CLOUD, or that of a `Miss`.

    Args:
        transforms: TF.
    """

    def __init__(self, transforms: TransformSource) -> None:
        self._transforms = transforms
        self._changed = threading.Condition()
        self._changes = 0
        self._stopping = False
        self._patience = Patience()
        self._misses = Misses()

    def wake(self) -> None:
        """Something has come."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def alive(self, name: str) -> None:
        """There is a sign that a thing comes, if late."""
        self._patience.alive(name)

    def stop(self) -> None:
        """Let every frame go on with what there is, from now on."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget what earlier waits have taught."""
        self._patience.clear()
        self._misses = Misses()

    def whole(self, attempt: Attempt, arrived_s: float, wait_s: float) -> Frame:
        """The frame that the last attempt has made, when it was whole, or nothing more was worth a wait.

        An image that may wait for more than a second is to have its cloud and its transforms, whatever earlier waits
        have brought. Not worth that are a frame that TF does not name, and a CameraInfo where another one serves.

        Args:
            attempt: makes the frame by what is at hand, asking TF by way of what it is given, and tells what may still
                come besides that.
            arrived_s: when the image came, by the monotonic clock.
            wait_s: from then on.
        """
        started_s = monotonic()
        for name in self._misses.answered(self._transforms):
            self._patience.alive(name)
        while True:
            changes = self._changes
            source = RecordingSource(self._transforms)
            frame, due = attempt(source)
            due |= set(source.missed)
            now_s = monotonic()
            left_s = arrived_s + wait_s - now_s
            if left_s <= 0 or self._stopping or not any(self._worth(name, now_s, wait_s) for name in due):
                break
            with self._changed:
                if self._changes == changes and not self._stopping:
                    self._changed.wait(min(left_s, _POLL_S))
        if not self._stopping:
            self._learn(due, source.missed, started_s, expired=left_s <= 0)
        return frame

    def _worth(self, name: str, now_s: float, wait_s: float) -> bool:
        insist = wait_s > _COMPLETE_S and (name == CLOUD or name.startswith("transform "))
        return insist or self._patience.worth(name, now_s)

    def _learn(self, due: set[str], missed: dict[str, Miss], started_s: float, *, expired: bool) -> None:
        """Remember what this wait has brought and what not, for the next frame."""
        self._patience.came_all_but(due)
        for name in due:
            if expired and self._patience.worth(name, started_s):
                self._patience.vain(name, monotonic())
        self._misses.update(missed)
