# SPDX-License-Identifier: Apache-2.0
"""The tree of frames over time, without ROS: who is whose parent, and where, at any held moment."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

from tf2_ros.exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from tf2_ros.rigid import Rigid, interpolate

LATEST = 0  # as a time: the newest moment at which the whole chain is known
_MAX_DEPTH = 1000


class Edge(NamedTuple):
    """Where a frame is in its parent."""

    parent: str
    rigid: Rigid


@dataclass
class Track:
    """The history of one frame in its parent; a static one holds at all times.

    Attributes:
        stamps_ns: ascending; of a static frame its single stamp.
        edges: one for each stamp.
    """

    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)

    def insert(self, stamp_ns: int, edge: Edge, cache_ns: int) -> bool:
        """Add one sample and forget those older than the cache; return whether it was taken.

        A sample that is itself too old, or whose stamp is already held, is not taken.
        """
        if self.static:
            self.stamps_ns, self.edges = [stamp_ns], [edge]
            return True
        if self.stamps_ns and stamp_ns < self.stamps_ns[-1] - cache_ns:
            return False
        index = bisect_left(self.stamps_ns, stamp_ns)
        if index < len(self.stamps_ns) and self.stamps_ns[index] == stamp_ns:
            return False
        self.stamps_ns.insert(index, stamp_ns)
        self.edges.insert(index, edge)
        expired = bisect_left(self.stamps_ns, self.stamps_ns[-1] - cache_ns)
        del self.stamps_ns[:expired], self.edges[:expired]
        return True

    def at(self, time_ns: int, frame: str) -> Edge:
        """Return the edge at that time, interpolated; raise `ExtrapolationException` outside of what is held."""
        stamps = self.stamps_ns
        if self.static or time_ns == LATEST:
            return self.edges[-1]
        if not stamps[0] <= time_ns <= stamps[-1]:
            side, held = ("future", stamps[-1]) if time_ns > stamps[-1] else ("past", stamps[0])
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the {side}: frame {frame!r} was asked for at "
                f"{_seconds(time_ns)}, its {'latest' if side == 'future' else 'earliest'} data are of {_seconds(held)}"
            )
        after = bisect_left(stamps, time_ns)
        if stamps[after] == time_ns:
            return self.edges[after]
        before = bisect_right(stamps, time_ns) - 1
        first, second = self.edges[before], self.edges[after]
        if first.parent != second.parent:  # re-parented in between: there is nothing to interpolate
            return first
        ratio = (time_ns - stamps[before]) / (stamps[after] - stamps[before])
        return Edge(first.parent, interpolate(first.rigid, second.rigid, ratio))


class FrameGraph:
    """All frames; not thread-safe."""

    def __init__(self, cache_ns: int) -> None:
        self.cache_ns = cache_ns
        self._tracks: dict[str, Track] = {}
        self._frames: set[str] = set()

    def clear(self) -> None:
        """Forget all that moves; static frames stay."""
        self._tracks = {child: track for child, track in self._tracks.items() if track.static}

    def insert(self, parent: str, child: str, stamp_ns: int, rigid: Rigid, *, static: bool) -> bool:
        """Add one sample; return whether it was taken (see `Track.insert`)."""
        track = self._tracks.get(child)
        if track is None or track.static != static:
            track = self._tracks[child] = Track(static)
        self._frames.update((parent, child))
        return track.insert(stamp_ns, Edge(parent, rigid), self.cache_ns)

    def parents(self) -> dict[str, str]:
        """Return the present parent of every frame that has one."""
        return {child: track.edges[-1].parent for child, track in self._tracks.items()}

    def check_frame(self, frame: str, role: str) -> None:
        """Raise unless `frame` is a known frame's name; `role` says which argument it was."""
        if not frame or frame.startswith("/"):
            raise InvalidArgumentException(f"{role}: expected a frame name without a leading '/', got {frame!r}")
        if frame not in self._frames:
            raise LookupException(f"{role}: frame {frame!r} does not exist")

    def lookup(self, target: str, source: str, time_ns: int) -> tuple[int, Rigid]:
        """Return the time found and the transform that maps points of `source` into `target` at it.

        Raises:
            TransformException: the subclass says why there is none.
        """
        self.check_frame(target, "target_frame")
        self.check_frame(source, "source_frame")
        if time_ns == LATEST:
            time_ns = self.latest_common_time(target, source)
        if target == source:
            return time_ns, Rigid()
        from_source, source_end = self._ancestors(source, time_ns)
        from_target, target_end = self._ancestors(target, time_ns)
        common = next((frame for frame in from_target if frame in from_source), None)
        if common is None:
            raise source_end or target_end or _not_connected(target, source)
        return time_ns, from_target[common].inverse() @ from_source[common]

    def latest_common_time(self, target: str, source: str) -> int:
        """Return the newest time at which the chain is known; 0 for a chain of static frames alone."""
        if target == source:
            track = self._tracks.get(source)
            return 0 if track is None or track.static else track.stamps_ns[-1]
        up_source, up_target = self._newest(source), self._newest(target)
        common = next((frame for frame in up_target if frame in up_source), None)
        if common is None:
            raise _not_connected(target, source)
        stamps = [*_until(up_source, common), *_until(up_target, common)]
        return min((stamp for stamp in stamps if stamp is not None), default=0)

    def _ancestors(self, frame: str, time_ns: int) -> tuple[dict[str, Rigid], TransformException | None]:
        """Return how `frame` lies in itself and each ancestor, nearest first, and what stopped the walk early."""
        chain, here = None, frame
        found = {frame: Rigid()}
        while (track := self._tracks.get(here)) is not None:
            try:
                edge = track.at(time_ns, here)
            except ExtrapolationException as stopped:
                return found, stopped
            here, chain = edge.parent, edge.rigid if chain is None else edge.rigid @ chain
            if here in found or len(found) > _MAX_DEPTH:
                return found, LookupException(f"the frames above {frame!r} form a loop through {here!r}")
            found[here] = chain
        return found, None

    def _newest(self, frame: str) -> dict[str, int | None]:
        """Return `frame` and its present ancestors, each with the newest stamp in its parent (None: static or root)."""
        found: dict[str, int | None] = {}
        here: str | None = frame
        while here is not None and here not in found:
            track = self._tracks.get(here)
            found[here] = None if track is None or track.static else track.stamps_ns[-1]
            here = None if track is None else track.edges[-1].parent
        return found


def _until(chain: dict[str, int | None], end: str) -> list[int | None]:
    frames = list(chain)
    return [chain[frame] for frame in frames[: frames.index(end)]]


def _not_connected(target: str, source: str) -> ConnectivityException:
    return ConnectivityException(f"frames {target!r} and {source!r} are not part of the same tree")


def _seconds(time_ns: int) -> str:
    return f"{time_ns // 1_000_000_000}.{time_ns % 1_000_000_000:09d} s"
