# SPDX-License-Identifier: Apache-2.0
"""The folder that a replay writes. It is filled aside and put in place at the end, the summary last."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import cv2
import yaml
from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode, StoragePlugin

from vl_anomaly_ros.config import Config, to_mapping
from vl_anomaly_ros.errors import ReplayError
from vl_anomaly_ros.replay.interfaces import OUTPUT_TYPES, typestore
from vl_anomaly_ros.replay.records import FrameRecord
from vl_anomaly_ros.types import ByteArray

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

NODE_NAME = "vl_anomaly"
_ASIDE = ".unfinished"
_SUMMARY = "summary.json"
_JPEG_QUALITY = 88
_LATCHED = Qos(
    history=QosHistory.KEEP_ALL,
    depth=0,
    reliability=QosReliability.RELIABLE,
    durability=QosDurability.TRANSIENT_LOCAL,
    deadline=QosTime(0, 0),
    lifespan=QosTime(0, 0),
    liveliness=QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=QosTime(0, 0),
    avoid_ros_namespace_conventions=False,
)


class ResultFolder:
    """Writes results as they come; a context manager.

    Until `finish` everything lies in a hidden sub-folder, so a run that is stopped leaves no half result, and an
    earlier result stays whole.

    Args:
        path: the folder. Absent, empty, or an earlier result, which is replaced.
        cameras: names of all cameras; with several, the topics carry the name.
        config: the resolved settings, written beside the results.

    Raises:
        ReplayError: the folder holds something else.
    """

    def __init__(self, path: Path, cameras: Sequence[str], config: Config) -> None:
        self.path = path
        self._aside = path / _ASIDE
        self._several = len(cameras) > 1
        self._config = config
        self._records: list[FrameRecord] = []
        self._connections: dict[str, Connection] = {}
        self._writer: Writer | None = None
        check_folder(path)

    def __enter__(self) -> Self:
        try:
            shutil.rmtree(self._aside, ignore_errors=True)
            (self._aside / "overlay").mkdir(parents=True)
        except OSError as error:
            raise ReplayError(f"{self.path}: cannot be written: {error.strerror}; choose another --out") from error
        self._writer = Writer(self._aside / "results", version=8, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
        shutil.rmtree(self._aside, ignore_errors=True)

    @property
    def records(self) -> list[FrameRecord]:
        """What was added so far, by stamp and camera."""
        return sorted(self._records, key=lambda record: record.key)

    def write(self, topic: str, msgtype: str, log_ns: int, raw: bytes, *, latched: bool = False) -> None:
        """Put a serialised message into the results recording."""
        if self._writer is None:
            raise ReplayError(f"{self.path}: the result folder is not open")
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, msgtype, typestore=typestore(), offered_qos_profiles=[_LATCHED] if latched else []
            )
        self._writer.write(self._connections[topic], log_ns, raw)

    def add(
        self, record: FrameRecord, log_ns: int, outputs: Mapping[str, bytes], picture: ByteArray | None = None
    ) -> None:
        """Add a frame.

        Args:
            record: what was found.
            log_ns: time of recording of the image.
            outputs: serialised messages by output name, such as "score".
            picture: (H, W, 3) uint8 RGB, the overlay; None where there is none.
        """
        self._records.append(record)
        for name, raw in outputs.items():
            part = f"{record.camera}/{name}" if self._several else name
            self.write(f"/{NODE_NAME}/{part}", OUTPUT_TYPES[name], log_ns, raw)
        if picture is not None:
            path = self._aside / overlay_path(record)
            if not cv2.imwrite(
                str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
            ):
                raise ReplayError(f"{path}: the picture could not be written; is the disk full?")

    def picture(self, record: FrameRecord) -> Path | None:
        """Where the overlay picture of a frame lies until `finish`."""
        path = self._aside / overlay_path(record)
        return path if path.exists() else None

    def finish(self, summary: Mapping[str, Any], extra: Mapping[str, str | bytes]) -> None:
        """Put everything in place.

        Args:
            summary: content of summary.json.
            extra: further files by name, such as the report.
        """
        if self._writer is None:
            raise ReplayError(f"{self.path}: the result folder is not open")
        self._writer.close()
        self._writer = None
        lines = [json.dumps(record.as_json(), ensure_ascii=False) for record in self.records]
        files: dict[str, str | bytes] = {
            "frames.jsonl": "".join(line + "\n" for line in lines),
            "config.yaml": yaml.safe_dump(to_mapping(self._config), sort_keys=False, allow_unicode=True),
            **extra,
            _SUMMARY: json.dumps(summary, indent=2, ensure_ascii=False) + "\n",
        }
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (self._aside / name).write_bytes(data)
        (self.path / _SUMMARY).unlink(missing_ok=True)  # from here on the earlier result is no longer whole
        for source in sorted(self._aside.iterdir(), key=lambda p: p.name == _SUMMARY):
            target = self.path / source.name
            if target.is_dir():
                shutil.rmtree(target)
            source.replace(target)
        self._aside.rmdir()


def overlay_path(record: FrameRecord) -> Path:
    """Path of the overlay picture of a frame, relative to the result folder."""
    return Path("overlay") / f"{record.camera}_{record.stamp_ns:019d}.jpg"


def check_folder(path: Path) -> None:
    """Refuse a result folder that holds anything but an earlier result.

    Raises:
        ReplayError: as said.
    """
    if path.exists() and not path.is_dir():
        raise ReplayError(f"{path}: expected a folder for the results, this is a file")
    if not path.exists() or (path / _ASIDE).exists():
        return
    content = sorted(p.name for p in path.iterdir())
    if content and not {"frames.jsonl", "config.yaml"} <= set(content):
        raise ReplayError(
            f"{path}: holds other files ({', '.join(content[:3])}{', ...' if len(content) > 3 else ''}) and no earlier "
            "result; choose another --out or empty it"
        )
