# SPDX-License-Identifier: Apache-2.0
"""A ROS 2 recording (MCAP or sqlite3, compressed or not), opened without ROS and read by message stamp."""

from __future__ import annotations

import logging
import shutil
import struct
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from vl_anomaly_ros.errors import ReplayError, VlAnomalyError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
CLOUD = "sensor_msgs/msg/PointCloud2"
TF = "tf2_msgs/msg/TFMessage"
STAMPED = (IMAGE, COMPRESSED, INFO, CLOUD)


class Entry(NamedTuple):
    """Where one message lies in the recording.

    `stamp_ns` is the acquisition time of its header, `log_ns` when it was recorded. A message whose header cannot be
    read has the time of recording as stamp and `readable` False.
    """

    stamp_ns: int
    log_ns: int
    topic: str
    frame_id: str
    readable: bool = True


@dataclass(frozen=True)
class Topic:
    """A topic of the recording with its type, its number of messages and the frame of its first message."""

    name: str
    msgtype: str
    count: int
    frame_id: str
    encoding: str


@contextmanager
def _as_replay_error(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes the reader raise into one sentence."""
    try:
        yield
    except VlAnomalyError:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ReplayError(
            f"{path}: the recording is damaged or incomplete ({reason.rstrip('.')}); "
            "try `ros2 bag reindex` for a folder or `mcap recover` for an .mcap file"
        ) from error


class Bag:
    """A recording. A context manager; `entries` holds every stamped message in the order of recording.

    Raises:
        ReplayError: there is no such recording, it is damaged, or it is of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, list[Entry]] = {}
        self.topics: dict[str, Topic] = {}
        # Small messages stay in memory: to fetch one means to unpack a megabyte of recording.
        self._infos: dict[Entry, bytes] = {}
        self._transforms: list[tuple[bool, int, bytes]] = []
        self._store = get_typestore(Stores.ROS2_JAZZY)  # the types read here are the same from Foxy to Lyrical
        self._reader: Reader | None = None
        self._unpacked: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        try:
            self._reader = self._opened()
            with _as_replay_error(self.path):
                self._index()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._unpacked is not None:
            self._unpacked.cleanup()
            self._unpacked = None

    def _opened(self) -> Reader:
        path = self.path
        if not path.exists():
            raise ReplayError(f"{path}: no such recording; expected a bag folder, an .mcap or a .db3 file")
        if path.suffix == ".bag":
            raise ReplayError(f"{path}: this is a ROS 1 bag; convert it with `rosbags-convert --src {path} --dst OUT`")
        if path.is_dir() and not (path / "metadata.yaml").exists():
            files = sorted(p for p in path.iterdir() if p.suffix in (".mcap", ".db3"))
            if len(files) != 1:
                raise ReplayError(
                    f"{path}: expected a bag folder with metadata.yaml, found {len(files)} bag files and no "
                    "metadata.yaml; name one file, or run `ros2 bag reindex`"
                )
            path = files[0]
        elif path.suffix in (".zst", ".zstd") and path.is_file():
            path = self._unzipped(path)
        if path.is_file() and path.suffix not in (".mcap", ".db3"):
            raise ReplayError(
                f"{path}: expected a bag folder, an .mcap or a .db3 file, got {path.suffix or 'a file'!r}"
            )
        with _as_replay_error(path):
            reader = Reader(path)
            reader.open()
        return reader

    def _unzipped(self, path: Path) -> Path:
        """A file that was compressed as a whole, unpacked into a temporary folder."""
        self._unpacked = tempfile.TemporaryDirectory(prefix="vl_anomaly_bag_")
        target = Path(self._unpacked.name) / path.stem
        with _as_replay_error(path), zstd.open(path, "rb") as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
        return target

    @property
    def connections(self) -> list[Connection]:
        """Every topic and type of the recording."""
        if self._reader is None:
            raise ReplayError(f"{self.path}: the recording is not open")
        return list(self._reader.connections)

    def _index(self) -> None:
        """One pass: stamps, frames and first encodings of the stamped messages; calibrations and transforms whole."""
        wanted = [c for c in self.connections if c.msgtype in (*STAMPED, TF)]
        for connection in self.connections:
            self._check_type(connection)
            self.topics[connection.topic] = Topic(connection.topic, connection.msgtype, connection.msgcount, "", "")
        for connection, log_ns, raw in self._messages(wanted):
            if connection.msgtype == TF:
                static = connection.topic.rsplit("/", 1)[-1] == "tf_static"
                self._transforms.append((static, log_ns, bytes(raw)))
                continue
            entry = _entry(connection.topic, log_ns, raw)
            if connection.msgtype == INFO:
                self._infos[entry] = bytes(raw)
            seen = self.entries.setdefault(connection.topic, [])
            if not seen or (entry.readable and not self.topics[connection.topic].frame_id):
                self.topics[connection.topic] = Topic(
                    connection.topic,
                    connection.msgtype,
                    connection.msgcount,
                    entry.frame_id,
                    self._encoding(connection.msgtype, bytes(raw)),
                )
            seen.append(entry)

    def _check_type(self, connection: Connection) -> None:
        """Refuse a recording whose sensor messages are not the standard ones: their bytes would be misread."""
        if connection.msgtype not in (*STAMPED, TF) or not connection.digest:
            return
        if connection.digest != self._store.hash_rihs01(connection.msgtype):
            raise ReplayError(
                f"{self.path}: {connection.topic} holds an unknown definition of {connection.msgtype}; "
                "expected the standard one of ROS 2 Foxy or later"
            )

    def _encoding(self, msgtype: str, raw: bytes) -> str:
        if msgtype not in (IMAGE, COMPRESSED):
            return ""
        try:
            message: Any = self._store.deserialize_cdr(raw, msgtype)
        except Exception:  # a damaged message is reported when its frame is judged
            return ""
        return str(message.encoding if msgtype == IMAGE else message.format)

    def _messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        if not connections or self._reader is None:  # an empty selection would mean all to the reader
            return
        yield from self._reader.messages(connections, start=start, stop=stop)

    def raw(self, entry: Entry) -> bytes:
        """The serialised message of an entry.

        Raises:
            ReplayError: the recording is damaged there.
        """
        if entry in self._infos:
            return self._infos[entry]
        connections = [c for c in self.connections if c.topic == entry.topic]
        with _as_replay_error(self.path):
            for _, log_ns, raw in self._messages(connections, entry.log_ns, entry.log_ns + 1):
                if _entry(entry.topic, log_ns, raw) == entry:
                    return bytes(raw)
        raise ReplayError(f"{self.path}: the message of {entry.topic} recorded at {entry.log_ns} ns is gone")

    def message(self, entry: Entry) -> Any:
        """The message of an entry.

        Raises:
            ReplayError: the recording is damaged there.
        """
        return self.parse(entry, self.raw(entry))

    def parse(self, entry: Entry, raw: bytes) -> Any:
        """The message of an entry from its bytes.

        Raises:
            ReplayError: they are damaged.
        """
        with _as_replay_error(self.path):
            return self._store.deserialize_cdr(raw, self.topics[entry.topic].msgtype)

    def transforms(self) -> Iterator[tuple[bool, int, bytes, Any]]:
        """Every TF message as (static?, time of recording, bytes, message).

        Raises:
            ReplayError: the recording is damaged.
        """
        for static, log_ns, raw in self._transforms:
            with _as_replay_error(self.path):
                message = self._store.deserialize_cdr(raw, TF)
            yield static, log_ns, raw, message


def _entry(topic: str, log_ns: int, raw: bytes | memoryview) -> Entry:
    """Read the std_msgs/Header at the start of a serialised message, without touching the rest."""
    try:
        order = "<" if raw[1] & 1 else ">"
        sec, nanosec, length = struct.unpack_from(f"{order}iII", raw, 4)
        name = bytes(raw[16 : 16 + length])
        whole = len(name) == length > 0  # its last byte is the closing zero
        return Entry(sec * 1_000_000_000 + nanosec if whole else log_ns, log_ns, topic, name[:-1].decode(), whole)
    except (struct.error, IndexError, UnicodeDecodeError):
        return Entry(log_ns, log_ns, topic, "", readable=False)
