# SPDX-License-Identifier: Apache-2.0
"""How far an engine is that is being started: building one may take minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What a start is at.

    Attributes:
        backend: that is tried, by its name in `engine.backend`.
        phase: in words; of a build, as its library calls it.
        graph: whose engine is being built, such as "visual"; empty where none is.
        done, total: steps of the phase; 0 where it has none.

    >>> str(Step("tensorrt", "tactics", "visual", 3, 12))
    'tensorrt: building the engine of visual.onnx: tactics, step 3 of 12'
    >>> str(Step("tensorrt", "warming up"))
    'tensorrt: warming up'
    """

    backend: str
    phase: str
    graph: str = ""
    done: int = 0
    total: int = 0

    def __str__(self) -> str:
        building = f"building the engine of {self.graph}.onnx: " if self.graph else ""
        return f"{self.backend}: {building}{self.phase}" + (f", step {self.done} of {self.total}" if self.total else "")


Report = Callable[[Step], None]
"""Called at each step, in the thread that starts the engine."""
