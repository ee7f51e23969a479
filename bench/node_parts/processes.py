# SPDX-License-Identifier: Apache-2.0
"""Child processes that end with the bench, whatever happens to it, and what they cost."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
_STOP_S = 15.0
_PR_SET_PDEATHSIG = 1
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What a process has used so far.

    Attributes:
        at_s: moment of the monotonic clock.
        cpu_s: processor time of all its threads.
        rss_kib: resident memory, shared memory included.
        anonymous_kib: resident memory of its own.
    """

    at_s: float
    cpu_s: float
    rss_kib: int
    anonymous_kib: int


def cost_of(pid: int) -> Cost | None:
    """The cost of a process until now; None once it has ended."""
    try:
        # The name, in parentheses, may hold spaces; utime and stime are fields 14 and 15.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    sizes = {line.partition(":")[0]: line.split()[1] for line in status.splitlines() if line.endswith(" kB")}
    if "VmRSS" not in sizes:
        return None  # a zombie
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS
    return Cost(monotonic(), cpu_s, int(sizes["VmRSS"]), int(sizes["RssAnon"]))


class Processes:
    """Starts modules of Python; all of them are ended on leaving the context, by force where asking does not help."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(*self._running)

    def start(self, name: str, module: str, *arguments: str) -> int:
        """Start `python -m MODULE ARGUMENT...`, its output in NAME.log of the folder; returns its process id."""
        with self.log(name).open("w") as log:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                preexec_fn=_prepare,  # noqa: PLW1509 - the bench has one thread
            )
        self._running[name] = process
        return process.pid

    def log(self, name: str) -> Path:
        """Where a process writes."""
        return self._folder / f"{name}.log"

    def crashed(self) -> str:
        """Which process has ended by itself, and its last words; empty when none has."""
        for name, process in self._running.items():
            if process.poll() is not None:
                last = self.log(name).read_text(errors="replace").strip().splitlines()[-5:]
                return f"{name} ended with exit code {process.returncode}: {' | '.join(last)}"
        return ""

    def stop(self, *names: str) -> None:
        """Ask those that run to end, all at once, and kill those that do not."""
        ending = {name: self._running.pop(name) for name in names if name in self._running}
        for process in ending.values():
            if process.poll() is None:
                process.terminate()
        end_s = monotonic() + _STOP_S
        for process in ending.values():
            _await(process, max(end_s - monotonic(), 0.1))


def _await(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _prepare() -> None:
    """In the child: end with the parent. Ctrl-C reaches the bench alone, which then ends the children in order."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
