# SPDX-License-Identifier: Apache-2.0
"""One stretch of measurement: sender, receivers, and either the node or a floor; all started anew for it."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from bench.node_parts import floor
from bench.node_parts.processes import Cost, Processes, cost_of
from bench.node_parts.records import Received, Sent, received, sent
from bench.node_parts.scene import SMALL, Rig

NODE, TINY, FULL = "node", "tiny floor", "full floor"
WARM_UP_S = 5.0
_START_S = 90.0
_SAMPLE_S = 1.0
IMAGE_SIZES = (8_294_400, 2_073_600, 4_147_200, 2_073_600)
"""Bytes of score, mask, instances and segmentation at 1920x1080."""


@dataclass(frozen=True)
class Load:
    """What the node is put to."""

    rate_hz: float = 10.0
    cameras: int = 1
    engine_ms: float = 0.0
    burn: bool = False
    seconds: float = 20.0
    reliability: str = "reliable"
    parameters: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Such as "30 Hz, 4 cameras, engine 100 ms"."""
        cameras = "1 camera" if self.cameras == 1 else f"{self.cameras} cameras"
        return f"{self.rate_hz:g} Hz, {cameras}, engine {self.engine_ms:g} ms{' of CPU' if self.burn else ''}"


@dataclass
class Segment:
    """What was recorded.

    Attributes:
        kind: NODE, TINY or FULL.
        load: what it was put to.
        seconds: how long, after the warm-up.
        sent: images after the warm-up.
        received: answers to them.
        outputs: topic -> (camera, kind).
        costs: of the answering process over time.
        diagnostics: the last statuses of the node.
        longest_halt_s: by how much the bench itself once woke up late: a machine that halts or is overloaded.
        failure: why the stretch ended early, empty otherwise.
    """

    kind: str
    load: Load
    seconds: float
    sent: list[Sent] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    outputs: dict[str, tuple[str, str]] = field(default_factory=dict)
    costs: list[Cost] = field(default_factory=list)
    diagnostics: dict[str, Any] = field(default_factory=dict)
    longest_halt_s: float = 0.0
    failure: str = ""

    @property
    def sizes(self) -> list[int]:
        """Largest size of each output in bytes, for the floor of the same sizes."""
        largest: dict[str, int] = {}
        for message in self.received:
            largest[message.topic] = max(largest.get(message.topic, 0), message.size)
        return sorted(largest.values())


def run_segment(
    kind: str,
    load: Load,
    seconds: float,
    folder: Path,
    without: Collection[str] = (),
    sizes: tuple[int, ...] = IMAGE_SIZES,
) -> Segment:
    """Measure for so many seconds after the warm-up.

    Args:
        kind: NODE, TINY or FULL.
        load: what it is put to.
        seconds: how long.
        folder: for logs; made.
        without: environment variables that are taken away from all processes.
        sizes: of the answers of the full floor, in bytes.
    """
    folder.mkdir(parents=True)
    rig = Rig(load.cameras)
    segment = Segment(kind, load, seconds)
    if kind == NODE:
        segment.outputs = rig.outputs()
    else:
        names = floor.topics(rig, list(sizes) if kind == FULL else [])
        segment.outputs = {topic: (topic.split("/")[2], answer) for topic, answer in names.items()}
    domain = {"ROS_DOMAIN_ID": str(random.SystemRandom().randint(101, 200))}
    environment = {name: value for name, value in os.environ.items() if name not in without}
    with Processes(folder, environment | domain) as processes:
        try:
            _start_receivers(processes, segment, folder)
            pid = _start_answering(processes, segment, rig, sizes)
            processes.start(
                "sender", "bench.node_parts.sender", "--cameras", str(load.cameras), "--rate", str(load.rate_hz),
                "--reliability", load.reliability, "--out", str(folder / "sent.tsv"),
            )  # fmt: skip
            segment.failure = _wait_for_answers(processes, folder) or _watch(processes, segment, pid)
        except KeyboardInterrupt:
            segment.failure = "interrupted"
            for number in (signal.SIGINT, signal.SIGTERM):  # a second one must not cut the end short
                signal.signal(number, signal.SIG_IGN)
        processes.stop("sender")
        sleep(0.5)  # answers on their way
    _collect(segment, folder)
    return segment


def _start_receivers(processes: Processes, segment: Segment, folder: Path) -> None:
    """Two of them, so that taking the large answers does not delay the small ones."""
    kinds = {topic: kind for topic, (_, kind) in segment.outputs.items()}
    small = [f"{t}={k}" for t, k in kinds.items() if k in (*SMALL, "floor")]
    large = [f"{t}={k}" for t, k in kinds.items() if k not in (*SMALL, "floor")]
    module = "bench.node_parts.receiver"
    processes.start("small", module, str(folder / "small.tsv"), *small, "/diagnostics=diagnostics")
    if large:
        processes.start("large", module, str(folder / "large.tsv"), *large)


def _start_answering(processes: Processes, segment: Segment, rig: Rig, sizes: tuple[int, ...]) -> int:
    load = segment.load
    if segment.kind != NODE:
        of_sizes = [str(size) for size in sizes] if segment.kind == FULL else []
        return processes.start("floor", "bench.node_parts.floor", str(load.cameras), *of_sizes)
    parameters = ["node.autostart:=true", *load.parameters]
    if load.cameras > 1:
        parameters.append(f"node.cameras:=[{', '.join(rig.cameras)}]")
    options = [word for parameter in parameters for word in ("-p", parameter)]
    engine = (f"{load.engine_ms:g}", "burn" if load.burn else "sleep")
    return processes.start("node", "bench.node_parts.stub_node", *engine, "--ros-args", *options)


def _wait_for_answers(processes: Processes, folder: Path) -> str:
    """Until something is answered; returns why nothing is."""
    end_s = monotonic() + _START_S
    while not received(folder / "small.tsv"):
        if crashed := processes.crashed():
            return crashed
        if monotonic() > end_s:
            return f"no answer within {_START_S:g} s of the start"
        sleep(0.2)
    return ""


def _watch(processes: Processes, segment: Segment, pid: int) -> str:
    """Sample the cost until the time is up; returns what went wrong."""
    start_s = monotonic() + WARM_UP_S
    end_s = start_s + segment.seconds
    last_s = monotonic()
    while monotonic() < end_s:
        sleep(_SAMPLE_S)
        segment.longest_halt_s = max(segment.longest_halt_s, monotonic() - last_s - _SAMPLE_S)
        last_s = monotonic()
        if crashed := processes.crashed():
            return crashed
        cost = cost_of(pid)
        if cost is not None and cost.at_s >= start_s:
            segment.costs.append(cost)
    return ""


def _collect(segment: Segment, folder: Path) -> None:
    """Keep what belongs to images sent after the warm-up."""
    images = sent(folder / "sent.tsv")
    answers = received(folder / "small.tsv") + received(folder / "large.tsv")
    if images and answers:
        first_ns = min(message.at_ns for message in answers) + int(WARM_UP_S * 1e9)
        images = [image for image in images if image.before_ns >= first_ns]
    stamps = {image.stamp_ns for image in images}
    segment.sent = images
    segment.received = [message for message in answers if message.stamp_ns in stamps]
    diagnostics = folder / "small.diagnostics.json"
    if diagnostics.is_file():
        segment.diagnostics = json.loads(diagnostics.read_text())
