# SPDX-License-Identifier: Apache-2.0
"""Drives a node through a fault: images at a fixed rate, every answer with its time, diagnostics as they come."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from node_rig import NodeRig

TIMEOUT_S = 90.0
RECORD = "VL_ANOMALY_FAULT_RECORD"
"""Environment variable: the file that figures are added to, one JSON object a line."""
SOAK = bool(os.environ.get("VL_ANOMALY_SOAK"))
"""Environment variable VL_ANOMALY_SOAK=1: the long versions of the tests."""


@dataclass(frozen=True)
class Answer:
    """What the node said of one image, and when by the monotonic clock."""

    stamp_s: int
    sent_s: float
    heard_s: float
    ok: bool
    reason: str
    names: tuple[str, ...]
    revision: int


@dataclass
class Drive:
    """Sends the scene of the rig, of which every good answer must say `expected`.

    Attributes:
        rig: its node is active.
        answers: all so far.
        period_s: between two images.
    """

    rig: NodeRig
    expected: tuple[str, ...] = ("dog",)
    period_s: float = 0.1
    stamp_s: int = 0
    answers: list[Answer] = field(default_factory=list)
    _sent_s: dict[int, float] = field(default_factory=dict)
    _read: int = 0
    _next_s: float = 0.0

    def send(self, *, motion: bool = False, **how: Any) -> int:
        """Send the next image now, with the vehicle's motion in TF if `motion`; returns its stamp in seconds."""
        self.stamp_s += 1
        self._sent_s[self.stamp_s] = monotonic()
        if motion:
            self.rig.send_motion(self.stamp_s)
        self.rig.send(self.stamp_s, **how)
        return self.stamp_s

    def listen(self) -> None:
        """Take what has come. A good answer that is wrong fails the test."""
        self.rig.executor.spin_once(timeout_sec=0.02)
        heard = self.rig.received["anomalies"]
        for message in heard[self._read :]:
            stamp_s = message.header.stamp.sec
            if stamp_s in self._sent_s:
                names = tuple(label.name for label in message.labels)
                ok = message.status == 0
                assert names == (self.expected if ok else ()), f"{stamp_s} s: {names}, {message.reason}"
                assert ok == (not message.reason)
                sent_s = self._sent_s[stamp_s]
                about = (message.reason, names, message.vocabulary_revision)
                self.answers.append(Answer(stamp_s, sent_s, monotonic(), ok, *about))
        self._read = len(heard)

    def judge(self, **how: Any) -> Answer:
        """Send one image and wait for the answer to it."""
        stamp_s = self.send(**how)
        self.wait(
            lambda: self.answers and self.answers[-1].stamp_s == stamp_s, f"the answer to the image at {stamp_s} s"
        )
        return self.answers[-1]

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Send nothing until `condition()` holds."""
        self._until(condition, what, None)

    def stream(self, condition: Callable[[], Any], what: str, **how: Any) -> list[Answer]:
        """Send images at the rate until `condition()` holds; returns the answers that came in this time."""
        before = len(self.answers)
        self._until(condition, what, how)
        return self.answers[before:]

    def stream_for(self, seconds: float, **how: Any) -> list[Answer]:
        """Send images at the rate for so long."""
        end_s = monotonic() + seconds
        return self.stream(lambda: monotonic() > end_s, "time passes", **how)

    def until_good(self, **how: Any) -> list[Answer]:
        """Send images at the rate until one sent from now on is judged well; returns the answers until then."""
        now_s = monotonic()
        return self.stream(lambda: any(a.ok and a.sent_s >= now_s for a in self.answers[-5:]), "a good answer", **how)

    def until_unknown(self, **how: Any) -> list[Answer]:
        """Send images at the rate until one sent from now on is answered as unknown."""
        now_s = monotonic()
        return self.stream(lambda: any(not a.ok and a.sent_s >= now_s for a in self.answers[-5:]), "unknown", **how)

    def diagnostics(self, part: str) -> list[tuple[bytes, str, dict[str, str]]]:
        """(level, message, values) of each status of a part, oldest first."""
        return [
            (status.level, status.message, {v.key: v.value for v in status.values})
            for message in self.rig.received["diagnostics"]
            for status in message.status
            if status.name.endswith(f" {part}")
        ]

    def degraded(self, part: str, mode: str, *, still: bool = False, **how: Any) -> tuple[bytes, str, dict[str, str]]:
        """Send images (unless `still`) until a status from now on names this degraded mode ("no": none)."""
        self.rig.received["diagnostics"].clear()

        def found() -> list[tuple[bytes, str, dict[str, str]]]:
            return [s for s in self.diagnostics(part) if mode in s[2].get("degraded", "").split(", ")]

        self._until(found, f"{part}: {mode}", None if still else how)
        return found()[0]

    def _until(self, condition: Callable[[], Any], what: str, how: dict[str, Any] | None) -> None:
        end_s = monotonic() + TIMEOUT_S
        while not condition():
            if self.rig.process.poll() is not None or monotonic() > end_s:
                log = self.rig.log.read_text()[-8000:]
                raise AssertionError(
                    f"{what}: not seen (exit code {self.rig.process.poll()})\n{self.answers[-3:]}\n{log}"
                )
            if how is not None and monotonic() >= self._next_s:
                self._next_s = monotonic() + self.period_s
                self.send(**how)
            self.listen()


def record(fault: str, answers: list[Answer], diagnostics: str, lifted_s: float | None = None) -> None:
    """Add the figures of a fault to the file that `RECORD` names, if any.

    Args:
        fault: in words.
        answers: from before the fault until the first good one after it.
        diagnostics: what they said, in words.
        lifted_s: when the cause was gone, by the monotonic clock; None: it went by itself.
    """
    if not os.environ.get(RECORD):
        return
    unknown = [a for a in answers if not a.ok]
    since_s = max([a.sent_s for a in unknown] + ([] if lifted_s is None else [lifted_s]), default=0.0)
    good = [a for a in answers if a.ok and a.sent_s >= since_s]
    figures: dict[str, Any] = {
        "fault": fault,
        "answers": len(answers),
        "unknown": len(unknown),
        "reasons": sorted({a.reason for a in unknown}),
        "diagnostics": diagnostics,
        "outage_s": round(good[0].heard_s - unknown[0].sent_s, 3) if unknown and good else 0.0,
        "first_unknown_after_s": round(unknown[0].heard_s - unknown[0].sent_s, 3) if unknown else None,
        "back_s": None if lifted_s is None or not good else round(good[0].heard_s - lifted_s, 3),
    }
    add_record(figures)


def add_record(figures: dict[str, Any]) -> None:
    """Add any figures to the file that `RECORD` names, if any."""
    if os.environ.get(RECORD):
        with Path(os.environ[RECORD]).open("a") as file:
            file.write(json.dumps(figures) + "\n")
