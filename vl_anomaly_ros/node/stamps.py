# SPDX-License-Identifier: Apache-2.0
"""Tells a clock that has started again from a single wrong stamp."""

from __future__ import annotations

from enum import Enum

BACK_NS = 1_000_000_000
"""Stamps that lie farther back than this are not merely out of order."""
AHEAD_NS = 10_000_000_000
"""A source that paused for longer is not told from a wrong stamp at once."""
_BACK_IN_A_ROW, _AHEAD_IN_A_ROW = 3, 2


class Verdict(Enum):
    """What a stamp says of the clock behind it."""

    ON = "goes on"
    BACK = "stamp went back"
    DOUBTFUL = "stamp jumped"
    RESTARTED = "time started again"


class StampWatch:
    """Watches the stamps of one source.

    A recording that is played again, or a clock that was set back, sends every stamp far behind the newest one: after
    three of them that fit each other, time has started again. Far ahead, two in a row are believed. One alone proves
    nothing.

    Args:
        ahead_ns: what is far ahead.

    >>> watch = StampWatch()
    >>> [watch.see(second * 1_000_000_000).name for second in (50, 51, 90, 52, 20, 21, 22, 23)]
    ['ON', 'ON', 'DOUBTFUL', 'ON', 'DOUBTFUL', 'DOUBTFUL', 'RESTARTED', 'ON']
    """

    def __init__(self, ahead_ns: int = AHEAD_NS) -> None:
        self._ahead_ns = ahead_ns
        self._newest: int | None = None
        self._doubtful: int | None = None
        self._count = 0

    def see(self, stamp_ns: int) -> Verdict:
        """What the next stamp says, in the order of arrival."""
        newest = self._newest
        if newest is None or -BACK_NS <= stamp_ns - newest <= self._ahead_ns:
            self._newest = stamp_ns if newest is None else max(newest, stamp_ns)
            self._doubtful, self._count = None, 0
            return Verdict.BACK if newest is not None and stamp_ns < newest else Verdict.ON
        ahead = stamp_ns > newest
        fits = False
        if self._doubtful is not None and ahead == (self._doubtful > newest):
            step_ns = stamp_ns - self._doubtful
            fits = step_ns >= -BACK_NS and (ahead or step_ns <= self._ahead_ns)
        self._doubtful, self._count = stamp_ns, self._count + 1 if fits else 1
        if self._count < (_AHEAD_IN_A_ROW if ahead else _BACK_IN_A_ROW):
            return Verdict.DOUBTFUL
        self._newest, self._doubtful, self._count = stamp_ns, None, 0
        return Verdict.ON if ahead else Verdict.RESTARTED
