# SPDX-License-Identifier: Apache-2.0
"""Not to wait again and again for what does not come: it would cost the whole waiting time on every frame."""

from __future__ import annotations

from collections.abc import Collection

_PAUSE_S = 1.0


class Patience:
    """Whether a frame should wait for a thing, by what earlier waits have brought.

    What one whole wait has not brought is not waited for again until there is a sign that it comes at all, and then at
    most once a second: what always comes too late costs one wait a second and not one a frame. It is used wherever it
    is at hand, and once it was, it is worth a wait again.

    Times are seconds of the monotonic clock.

    >>> patience = Patience()
    >>> patience.vain("cloud", 10.0)
    >>> patience.worth("cloud", 20.0)
    False
    >>> patience.alive("cloud")
    >>> [patience.worth("cloud", now_s) for now_s in (10.5, 11.0)]
    [False, True]
    """

    def __init__(self) -> None:
        self._vain_s: dict[str, float] = {}
        self._alive: set[str] = set()

    def worth(self, name: str, now_s: float) -> bool:
        """Whether to wait for it now."""
        vain_s = self._vain_s.get(name)
        return vain_s is None or (name in self._alive and now_s - vain_s >= _PAUSE_S)

    def vain(self, name: str, now_s: float) -> None:
        """A whole wait has not brought it."""
        self._alive.discard(name)
        self._vain_s[name] = now_s

    def alive(self, name: str) -> None:
        """There is a sign that it comes, if late. May be called from any thread."""
        self._alive.add(name)

    def came_all_but(self, names: Collection[str]) -> None:
        """All but these were at hand, or were worth the wait."""
        for name in [name for name in self._vain_s if name not in names]:
            del self._vain_s[name]

    def clear(self) -> None:
        """Forget all experience."""
        self._vain_s, self._alive = {}, set()
