# SPDX-License-Identifier: Apache-2.0
"""Mailboxes with one slot for each sender: the newest item wins, and who has waited longest for a turn is next."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")

_LONGEST_INTERVAL_S = 0.1
"""Of senders slower than this the next item is not waited for."""
_LATE = 1.25
"""An item that has not come after so many intervals is not waited for any longer."""


class Mailboxes(Generic[T]):
    """Hands items of several senders to other threads. `put` never blocks.

    Where an item is there, but the next is sooner than that one is old, `take` waits for the next: what is made of it
    is of a later moment, and on average it is known no later. A sender is not waited for while another's item is there.

    Several threads may take. What a sender leaves while an item of it is in work waits for `done`: answers keep the
    order of the items.

    Args:
        senders: names; they are served in turn, whatever their rates.
    """

    def __init__(self, senders: Iterable[str]) -> None:
        self._changed = threading.Condition()
        self._choosing = threading.Lock()  # one thread at a time waits for what it takes
        self._busy: set[str] = set()
        self._turns = list(senders)  # who was served longest ago comes first
        self._items: dict[str, T] = {}
        self._put_s: dict[str, float] = {}
        self._interval_s: dict[str, float] = {}
        self._closed = False

    def waiting(self, sender: str) -> bool:
        """Whether an item of this sender is waiting to be taken."""
        with self._changed:
            return sender in self._items

    def put(self, sender: str, item: T) -> bool:
        """Leave `item` for another thread; returns whether it replaced one that was not taken."""
        with self._changed:
            if self._closed:
                return False
            replaced = sender in self._items
            self._items[sender] = item
            now_s = monotonic()
            self._interval_s[sender] = now_s - self._put_s.get(sender, -1e9)
            self._put_s[sender] = now_s
            self._changed.notify()
            return replaced

    def take(self) -> tuple[str, T] | None:
        """Wait for an item and take it, with its sender, who is then in work; None once the mailboxes are closed."""
        with self._choosing, self._changed:
            self._changed.wait_for(lambda: self._closed or self._ready())
            if len(ready := self._ready()) == 1:
                self._wait_for_newer(*ready)
            if self._closed:
                return None
            sender = self._ready()[0]
            self._turns.remove(sender)
            self._turns.append(sender)
            self._busy.add(sender)
            return sender, self._items.pop(sender)

    def done(self, sender: str) -> None:
        """The item that was taken from this sender is answered: its next one may be taken."""
        with self._changed:
            self._busy.discard(sender)
            self._changed.notify()

    def close(self) -> None:
        """End every `take`, now and later."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def _ready(self) -> list[str]:
        """Senders with an item that may be taken, who was served longest ago first."""
        return [name for name in self._turns if name in self._items and name not in self._busy]

    def _wait_for_newer(self, sender: str) -> None:
        put_s, interval_s = self._put_s[sender], self._interval_s[sender]
        now_s = monotonic()
        if interval_s <= _LONGEST_INTERVAL_S and now_s - put_s > interval_s / 2:
            # One that is overdue may lie there already: who puts it had to wait for us.
            until_s = max(put_s + _LATE * interval_s, now_s + (_LATE - 1) * interval_s)
            self._changed.wait_for(
                lambda: self._closed or self._put_s[sender] != put_s or len(self._ready()) > 1, until_s - now_s
            )
