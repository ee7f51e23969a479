# SPDX-License-Identifier: Apache-2.0
"""The kernel that looks for NaN, its assembly carried out line by line: no GPU is needed to see what it counts."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from vl_anomaly_ros.engine.tensorrt.finite import KERNEL, PTX

WARP = 32
LIMITS = {"32": (1 << 32) - 1, "64": (1 << 64) - 1}


class Thread:
    """One thread of a kernel: registers, and the program up to where it votes."""

    def __init__(self, special: dict[str, int], parameters: dict[str, int], memory: np.ndarray) -> None:
        self.registers: dict[str, Any] = dict(special)
        self.parameters, self.memory = parameters, memory
        self.added = 0

    def value(self, word: str) -> Any:
        return self.registers[word] if word.startswith("%") else int(word, 0)

    def run(self, lines: list[str], at: int = 0) -> int:
        """Carry out lines from `at` on; returns where it votes, or the end."""
        while at < len(lines):
            line, at = lines[at], at + 1
            if line.startswith("@"):
                condition, line = line[1:].split(" ", 1)
                if not self.registers[condition]:
                    continue
            name, _, rest = line.partition(" ")
            words = [word.strip(" []") for word in rest.split(",")]
            if name == "bra":
                at = lines.index(f"{words[0]}:")
            elif name == "vote.sync.all.pred":
                return at
            elif name == "ret":
                return len(lines)
            elif not name.endswith(":"):
                self.step(name, *words)
        return at

    def step(self, name: str, to: str, *words: str) -> None:
        operation, *kind = name.split(".")
        if name == "ld.param.u64":
            self.registers[to] = self.parameters[words[0]]
        elif name == "ld.global.u32":
            place = self.value(words[0]) - self.parameters["values"]
            assert place % 4 == 0
            self.registers[to] = int(self.memory[place // 4])  # IndexError outside
            assert place >= 0
        elif name == "red.global.add.u32":
            assert self.value(to) == self.parameters["total"]
            self.added += self.value(words[0])
        else:
            a, b, c = [*(self.value(word) for word in words), 0, 0][:3]
            result = {
                "mov": lambda: a, "cvta": lambda: a, "cvt": lambda: a, "add": lambda: a + b, "shl": lambda: a << b,
                "and": lambda: a & b, "max": lambda: max(a, b), "mul": lambda: a * b, "mad": lambda: a * b + c,
                "setp": lambda: {"ge": a >= b, "ne": a != b, "eq": a == b}[kind[0]],
            }[operation]()  # fmt: skip
            if isinstance(result, int) and not isinstance(result, bool):
                wide = "wide" in kind or kind[-1].endswith("64") or "u64" in kind
                assert 0 <= result <= LIMITS["64" if wide else "32"]
            self.registers[to] = result


def count(numbers: np.ndarray, blocks: int, threads: int) -> int:
    """What the kernel adds to its total."""
    code = re.sub(r"//.*", "", PTX[PTX.index("{") + 1 : PTX.index("}")])
    lines = [line.strip().rstrip(";") for line in code.splitlines() if line.strip() and ".reg" not in line]
    parameters = {"values": 0x7F00_0000_1000, "count": len(numbers), "total": 0x7F00_0000_0100}
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    total = 0
    for block in range(blocks):
        for first in range(0, threads, WARP):
            warp = [
                Thread(
                    {"%ctaid.x": block, "%ntid.x": threads, "%tid.x": thread, "%nctaid.x": blocks,
                     "%laneid": thread % WARP}, parameters, bits,
                )
                for thread in range(first, first + WARP)
            ]  # fmt: skip
            (vote,) = {thread.run(lines) for thread in warp}
            assert lines[vote - 1] == "vote.sync.all.pred %good, %good, 0xFFFFFFFF"
            every = all(thread.registers["%good"] for thread in warp)
            for thread in warp:
                thread.registers["%good"] = every
                thread.run(lines, vote)
                total += thread.added
    return total


@pytest.mark.parametrize("size", [1, 31, 128, 129, 300])
def test_every_number_is_looked_at_once_and_no_other(size: int) -> None:
    numbers = np.resize(np.array([0, -0.0, 1e-45, 3.4e38, -3.4e38], np.float32), size)
    assert count(numbers, 2, 64) == 4
    for place in {0, 1, size // 2, size - 1} & set(range(size)):
        for value in (np.nan, -np.nan, np.inf, -np.inf):
            spoilt = numbers.copy()
            spoilt[place] = value
            assert count(spoilt, 2, 64) == 3
    assert count(np.full(size, np.nan), 2, 64) == 4 - min(4, -(-size // WARP))


def test_a_nan_of_any_bits_is_found() -> None:
    bits = np.array([0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF, 0x7F800000, 0xFF800000], np.uint32)
    for number in bits.view(np.float32):
        assert count(np.array([number]), 1, WARP) == 0
    for number in np.array([0x7F7FFFFF, 0xFF7FFFFF, 0x00000001, 0x3F800000], np.uint32).view(np.float32):
        assert count(np.array([number]), 1, WARP) == 1


def test_the_kernel_has_the_name_that_is_asked_for() -> None:
    assert f".visible .entry {KERNEL}(" in PTX
    assert PTX.endswith("}\n")
