# SPDX-License-Identifier: Apache-2.0
"""What must hold for every message: a value that is right in shape and size, or one error with its reason."""

from __future__ import annotations

import random
import re
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import product
from types import SimpleNamespace as Message
from typing import Any

import hostile_messages
import numpy as np

from vl_anomaly_ros.config import Config, described, from_mapping, to_mapping, with_values
from vl_anomaly_ros.decoding.calibration import decode_calibration
from vl_anomaly_ros.decoding.clouds import decode_cloud
from vl_anomaly_ros.decoding.compressed import decode_compressed
from vl_anomaly_ros.decoding.encodings import MAX_PICTURE_BYTES, MAX_SIDE_PX
from vl_anomaly_ros.decoding.images import decode_image
from vl_anomaly_ros.decoding.payload import stamp_ns
from vl_anomaly_ros.decoding.point_times import MAX_OFFSET_NS
from vl_anomaly_ros.errors import ConfigError, DataError, GeometryError, VlAnomalyError
from vl_anomaly_ros.geometry.camera import project, rays
from vl_anomaly_ros.geometry.transforms import TransformBuffer
from vl_anomaly_ros.types import CameraCalibration, DoubleArray

_VARYING = (
    ("'[^']*'|\"[^\"]*\"", "'...'"),
    (r"-?\d[\d.e+x-]*|\bnan\b|-?\binf\b", "#"),
    (" for # .*", " for ..."),
    ("transform .* -> .*?: ", "transform A -> B: "),
    ("B: .* already hangs below .*", "B: A already hangs below B, a loop"),
    ("(known are|two trees, under|known from|one of the encodings) .*", r"\1 ..."),
    (".*: no such setting.*", "NAME: no such setting"),
)
_GUARD = 64
_LONGEST = 2500
_SPARE_BYTES = 200_000
_PLACES = np.array([[0.0, 0, 5], [1, 2, 3], [-50, 3, 0.1], [0, 0, -1], [1e6, 1e6, 1e6]])
_PIXELS = np.array([[0.0, 0], [320, 240], [639, 479], [-5, 1000]])


@contextmanager
def allocating_at_most(limit: int) -> Iterator[None]:
    """Fail where more memory than that is taken at once, for arrays and the rest of Python."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= limit
    finally:
        tracemalloc.stop()


def _picture(picture: Any) -> None:
    assert isinstance(picture, np.ndarray)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert min(picture.shape) > 0
    assert max(picture.shape) <= MAX_SIDE_PX
    assert picture.nbytes <= MAX_PICTURE_BYTES
    assert picture.flags.c_contiguous or picture[:, :, ::-1].flags.c_contiguous  # BGR is read backwards


def _surrounded(message: Message, byte: int) -> Message:
    """The message with its data in the midst of other bytes: a decoder that reads beyond sees them."""
    data = bytes(message.data)
    around = np.frombuffer(bytes([byte]) * _GUARD + data + bytes([byte]) * _GUARD, np.uint8)
    return Message(**{**vars(message), "data": around[_GUARD : _GUARD + len(data)]})


def check_image(message: Message) -> None:
    """`decode_image` keeps to the size that the message tells and to its data."""
    picture = decode_image(message)
    _picture(picture)
    assert picture.shape[:2] == (message.height, message.width)
    for byte in (0, 255):
        assert np.array_equal(decode_image(_surrounded(message, byte)), picture)


def check_compressed(message: Message) -> None:
    """`decode_compressed` makes a picture."""
    _picture(decode_compressed(message))


def _calibration(calibration: CameraCalibration) -> None:
    assert min(calibration.width, calibration.height) > 0
    assert max(calibration.width, calibration.height) <= MAX_SIDE_PX
    for matrix in (calibration.K, calibration.R, calibration.D, calibration.P):
        assert matrix is None or np.isfinite(matrix).all()
    assert min(calibration.K[0, 0], calibration.K[1, 1]) > 0
    with np.errstate(all="ignore"):
        pixels, _ = project(calibration, _PLACES)
        directions = rays(calibration, _PIXELS)
    assert np.isfinite(pixels).all()
    assert np.isfinite(directions).all()


def check_info(message: Message) -> None:
    """`decode_calibration` makes a camera that can be projected with; as one of rectified images too."""
    with suppress(DataError):
        _calibration(decode_calibration(message, rectified=True))
    _calibration(decode_calibration(message))


def check_cloud(message: Message) -> None:
    """`decode_cloud` gives finite points, not more than there are, and times near the stamp."""
    found = decode_cloud(message)
    assert found.xyz.flags.c_contiguous
    assert np.isfinite(found.xyz).all()
    assert len(found.xyz) <= message.width * message.height
    if found.offsets_ns is not None:
        assert not found.notes
        assert len(found.offsets_ns) == 0 or np.abs(found.offsets_ns).max() <= MAX_OFFSET_NS + 1
    for note in found.notes:
        assert note.startswith("times of the points: ")
    for byte in (0, 255):
        again = decode_cloud(_surrounded(message, byte))
        assert np.array_equal(again.xyz, found.xyz)
        assert (again.offsets_ns is None) == (found.offsets_ns is None)


def _rigid(T: DoubleArray) -> None:
    assert T.shape == (4, 4)
    assert np.isfinite(T).all()
    assert T[3].tolist() == [0, 0, 0, 1]
    assert np.abs(T[:3, :3] @ T[:3, :3].T - np.eye(3)).max() < 1e-6


def check_transforms(messages: list[Message]) -> None:
    """What `TransformBuffer` takes it answers with rigid transforms, or with a reason."""
    buffer = TransformBuffer()
    refused: list[GeometryError] = []
    for item in messages:
        t, q = item.transform.translation, item.transform.rotation
        try:
            buffer.set(
                item.header.frame_id, item.child_frame_id, stamp_ns(item.header.stamp), np.array([t.x, t.y, t.z]),
                np.array([q.x, q.y, q.z, q.w]), static=item.static,
            )  # fmt: skip
        except GeometryError as error:
            refused.append(error)
    for item, target in product(messages, ("map", "lidar", messages[0].header.frame_id)):
        with suppress(GeometryError):
            _rigid(buffer.lookup(target, item.child_frame_id, stamp_ns(item.header.stamp)))
    if refused:
        raise refused[0]


def check_parameters(values: dict[Any, Any]) -> None:
    """What `with_values` takes is within range and survives YAML's plain values."""
    config = with_values(Config(), values)
    for item in described(config):
        item.meaning.check(item.name, item.value)
    assert from_mapping(to_mapping(config)) == config


_CHECKS: dict[str, tuple[Callable[[Any], None], type[VlAnomalyError]]] = {
    "image": (check_image, DataError),
    "compressed": (check_compressed, DataError),
    "info": (check_info, DataError),
    "cloud": (check_cloud, DataError),
    "transforms": (check_transforms, GeometryError),
    "parameters": (check_parameters, ConfigError),
}


def outcome(kind: str, message: Any) -> str:
    """ "taken", or the reason of the refusal without its numbers and names.

    Anything else than the layer's own error with a reason, a warning of numpy included, fails.
    """
    check, error_type = _CHECKS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            check(message)
        except error_type as error:
            text = str(error)
            assert text
            assert len(text) <= _LONGEST
            if kind in ("image", "compressed", "info", "cloud"):
                assert "expected" in text
                assert "got" in text
                assert "\n" not in text
            return template(text)
    return "taken"


def template(text: str) -> str:
    """The expectation of a refusal without numbers and names, so that equal reasons count as one."""
    text = text.partition(", got ")[0]
    for pattern, replacement in _VARYING:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    return text


def run(kind: str, seed: int, count: int) -> Counter[str]:
    """Make and check messages; a failure tells the seed that makes the message again."""
    found: Counter[str] = Counter()
    for number in range(seed, seed + count):
        message = hostile_messages.KINDS[kind](random.Random(number))  # noqa: S311
        try:
            if number % 16 == 0 and kind in ("image", "cloud"):  # tracing is slow
                with allocating_at_most(40 * len(bytes(message.data)) + _SPARE_BYTES):
                    found[outcome(kind, message)] += 1
            else:
                found[outcome(kind, message)] += 1
        except Exception as error:
            raise AssertionError(f"{kind} of seed {number}: {type(error).__name__}: {error}") from error
    return found
