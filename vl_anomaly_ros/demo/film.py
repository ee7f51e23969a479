# SPDX-License-Identifier: Apache-2.0
"""Pictures of a finished replay for people: contact sheet, film, and the zones from above against the truth."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from vl_anomaly_ros.errors import ReplayError
from vl_anomaly_ros.replay.birdseye import TrueObject, View, draw_birdseye, legend
from vl_anomaly_ros.replay.output import overlay_path
from vl_anomaly_ros.replay.records import FrameRecord
from vl_anomaly_ros.replay.report import choose
from vl_anomaly_ros.types import ByteArray

logger = logging.getLogger(__name__)

Truth = Mapping[int, Sequence[TrueObject]]

_INK, _GROUND = (200, 205, 212), (24, 27, 33)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TILE_PX = 480
# VP8 plays in every browser; the others only where OpenCV was built without it.
_CODECS = (("VP80", ".webm"), ("mp4v", ".mp4"), ("MJPG", ".avi"))


def contact_sheet(out: Path, records: Sequence[FrameRecord], *, columns: int = 3, rows: int = 4) -> Path:
    """Write `contact_sheet.jpg` with the overlays of the frames most worth seeing; returns its path."""
    tiles = []
    for record in choose(records, columns * rows) or list(records[: columns * rows]):
        picture = _overlay(out, record)
        height = round(picture.shape[0] * _TILE_PX / picture.shape[1])
        tile = cv2.resize(picture, (_TILE_PX, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
        tiles.append(_captioned(tile, _caption(record, records[0].stamp_ns)))
    return _write(out / "contact_sheet.jpg", _grid(tiles, columns))


def truth_sheet(out: Path, records: Sequence[FrameRecord], truth: Truth, *, columns: int = 4, rows: int = 2) -> Path:
    """Write `birdseye.png`: zones and truth from above at some moments of the drive; returns its path."""
    chosen = choose(records, columns * rows) or list(records[: columns * rows])
    first = records[0].stamp_ns
    tiles = [draw_birdseye(r.zones, truth.get(r.stamp_ns, ()), f"{(r.stamp_ns - first) * 1e-9:.1f} s") for r in chosen]
    grid = _grid(tiles, columns)
    strip = np.full((30, grid.shape[1], 3), _GROUND, np.uint8)
    x = 10
    for words, colour in legend().items():
        cv2.rectangle(strip, (x, 9), (x + 12, 21), colour, cv2.FILLED)
        cv2.putText(strip, words, (x + 18, 20), _FONT, 0.4, _INK, 1, cv2.LINE_AA)
        x += 34 + cv2.getTextSize(words, _FONT, 0.4, 1)[0][0]
    return _write(out / "birdseye.png", np.concatenate([strip, grid]))


def film(out: Path, records: Sequence[FrameRecord], truth: Truth, *, fps: float) -> Path:
    """Write `overlay.webm` (or .mp4, .avi where VP8 is absent): overlay at the left, the view from above at the right.

    Raises:
        ReplayError: OpenCV can write no video at all.
    """
    writer, path, size = None, out / "overlay", (0, 0)
    try:
        for record in records:
            picture = _overlay(out, record)
            above = draw_birdseye(record.zones, truth.get(record.stamp_ns, ()), view=_film_view(picture.shape[0]))
            frame = np.concatenate([picture, above], axis=1)
            if writer is None:
                size = (frame.shape[1] // 2 * 2, frame.shape[0] // 2 * 2)  # video wants even sides
                writer, path = _writer(out, fps, size)
            writer.write(cv2.cvtColor(frame[: size[1], : size[0]], cv2.COLOR_RGB2BGR))
    finally:
        if writer is not None:
            writer.release()
    return path


def _film_view(height_px: int) -> View:
    """A view from above as high as the picture beside it."""
    return View(pixels_per_m=height_px / 50.0)


def _writer(out: Path, fps: float, size: tuple[int, int]) -> tuple[cv2.VideoWriter, Path]:
    for codec, suffix in _CODECS:
        path = out / f"overlay{suffix}"
        with _silent_stderr():
            writer = cv2.VideoWriter(str(path), int.from_bytes(codec.encode(), "little"), fps, size)
        if writer.isOpened():
            return writer, path
        path.unlink(missing_ok=True)
    raise ReplayError(f"{out}: OpenCV can write no video here; expected one of {', '.join(c for c, _ in _CODECS)}")


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """OpenCV's video writer speaks past the log about codecs that work."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _overlay(out: Path, record: FrameRecord) -> ByteArray:
    """The overlay picture of a frame, RGB; a grey one where the frame could not be read."""
    picture = cv2.imread(str(out / overlay_path(record)))
    if picture is None:
        return np.full((270, 480, 3), 60, np.uint8)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)


def _caption(record: FrameRecord, first_ns: int) -> str:
    seconds = (record.stamp_ns - first_ns) * 1e-9
    if not record.ok:
        return f"{seconds:.1f} s  UNKNOWN: {record.reason}"
    zones = sorted((z for z in record.zones if z.num_points), key=lambda z: z.distance_m)
    return f"{seconds:.1f} s  " + ", ".join(f"{z.name or 'unnamed'} {z.distance_m:.1f} m" for z in zones[:3])


def _captioned(tile: ByteArray, words: str) -> ByteArray:
    strip = np.full((22, tile.shape[1], 3), _GROUND, np.uint8)
    cv2.putText(strip, words, (6, 15), _FONT, 0.42, _INK, 1, cv2.LINE_AA)
    return np.concatenate([tile, strip])


def _grid(tiles: Sequence[ByteArray], columns: int) -> ByteArray:
    """Tiles in rows, with a gap."""
    height = max(tile.shape[0] for tile in tiles) + 6
    width = max(tile.shape[1] for tile in tiles) + 6
    rows = -(-len(tiles) // columns)
    grid = np.full((rows * height, min(columns, len(tiles)) * width, 3), _GROUND, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * height + 3, i % columns * width + 3
        grid[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return grid


def _write(path: Path, picture: ByteArray) -> Path:
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise ReplayError(f"{path}: the picture could not be written; is the disk full?")
    return path
