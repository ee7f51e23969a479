# SPDX-License-Identifier: Apache-2.0
"""Messages as a faulty driver or an attacker sends them: valid ones with some fields altered, made fast and by seed.

Every field stays within the type that its message has (uint32, string, float64, ...): nothing else can arrive.
"""

from __future__ import annotations

import array
import random
import struct
import zlib
from collections.abc import Callable
from types import SimpleNamespace as Message
from typing import Any

import cv2
import numpy as np
from hostile_values import FLOATS, NUMBERS, TEXTS, UINT32, contained, damaged, numbers, uint32

from vl_anomaly_ros.config import Config, described
from vl_anomaly_ros.decoding.encodings import ENCODINGS

_NAMES = list(ENCODINGS)


def _header(rng: random.Random) -> Message:
    stamp = Message(sec=rng.choice((0, 1, 1700000000, -1, 2**31 - 1, -(2**31))), nanosec=rng.choice((0, 5, UINT32)))
    return Message(stamp=stamp, frame_id=rng.choice(TEXTS))


def image(rng: random.Random) -> Message:
    """A sensor_msgs/Image."""
    name = rng.choice(_NAMES)
    encoding = ENCODINGS[name]
    width, height = rng.randrange(1, 13) * 2, rng.randrange(1, 9) * 2
    step = width * encoding.channels * encoding.dtype.itemsize + rng.choice((0, 0, 1, 4, 13))
    rows = height * encoding.rows[0] // encoding.rows[1]
    data = rng.randbytes(rows * step)
    if name == "32FC1" and rng.random() < 0.7:
        data = np.full(rows * step // 4 + 1, rng.random(), np.float32).tobytes()[: rows * step]
    message = Message(
        header=_header(rng), encoding=name, width=width, height=height, step=step, is_bigendian=rng.randrange(2)
    )
    for _ in range(rng.randrange(4)):
        field = rng.choice(("width", "height", "step", "is_bigendian", "encoding", "data"))
        if field == "data":
            data = damaged(rng, data)
        elif field == "encoding":
            message.encoding = rng.choice(TEXTS) if rng.random() < 0.3 else rng.choice(_NAMES)
        elif field == "is_bigendian":
            message.is_bigendian = rng.randrange(256)
        else:
            setattr(message, field, uint32(rng, getattr(message, field)))
    message.data = contained(rng, data)
    return message


def _files() -> list[tuple[str, bytes]]:
    pixels = np.random.default_rng(3).integers(0, 256, (10, 14, 4)).astype(np.uint8)
    colour, grey, wide = pixels[..., :3].copy(), pixels[..., 0].copy(), pixels.astype(np.uint16) * 257
    kinds = (colour, pixels, grey, wide, wide[..., 0].copy())
    found = [("png", bytes(cv2.imencode(".png", kind)[1])) for kind in kinds]
    jpegs: list[list[int]] = [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]]
    found += [("jpeg", bytes(cv2.imencode(".jpg", colour, flags)[1])) for flags in jpegs]
    found.append(("jpeg", bytes(cv2.imencode(".jpg", grey)[1])))
    return found


_FILES = _files()
_FORMATS = ("jpeg", "png", "bgr8; jpeg compressed bgr8", "rgb8; png compressed ", "bayer_rggb8; png compressed ",
            "16UC1; compressedDepth png", "bayer_x8;", "; compressed", "")  # fmt: skip


def compressed(rng: random.Random) -> Message:
    """A sensor_msgs/CompressedImage. Half of the altered PNG files get right checksums again."""
    name, data = rng.choice(_FILES)
    for _ in range(rng.randrange(3)):
        data = damaged(rng, data)
    if name == "png" and rng.random() < 0.5:
        data = _checksummed(rng, data)
    image_format = rng.choice((*_FORMATS, *TEXTS)) if rng.random() < 0.3 else name
    return Message(header=_header(rng), format=image_format, data=contained(rng, data))


def _checksummed(rng: random.Random, data: bytes) -> bytes:
    out, at = bytearray(data), 8
    if rng.random() < 0.5 and len(out) > 26:  # a size of its own choice
        out[16:24] = struct.pack(">II", uint32(rng, 14), uint32(rng, 10))
    while at + 12 <= len(out):
        stop = at + 8 + int.from_bytes(out[at : at + 4], "big")
        if stop + 4 > len(out):
            break
        out[stop : stop + 4] = struct.pack(">I", zlib.crc32(out[at + 4 : stop]))
        at = stop + 4
    return bytes(out)


def info(rng: random.Random) -> Message:
    """A sensor_msgs/CameraInfo."""
    model, count = rng.choice((("plumb_bob", 5), ("rational_polynomial", 8), ("equidistant", 4), ("", 0)))
    roi = Message(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)
    message = Message(
        header=_header(rng), width=640, height=480, distortion_model=model, d=[rng.gauss(0, 0.1) for _ in range(count)],
        k=[500.0, 0, 320, 0, 500, 240, 0, 0, 1], r=[1.0, 0, 0, 0, 1, 0, 0, 0, 1],
        p=[500.0, 0, 320, 0, 0, 500, 240, 0, 0, 0, 1, 0], binning_x=rng.randrange(3), binning_y=rng.randrange(3),
        roi=roi,
    )  # fmt: skip
    for _ in range(rng.randrange(4)):
        field = rng.choice(("width", "height", "distortion_model", "d", "k", "r", "p", "binning_x", "roi"))
        if field in ("d", "k", "r", "p"):
            setattr(message, field, numbers(rng, getattr(message, field), resize=field == "d" or rng.random() < 0.1))
        elif field == "distortion_model":
            message.distortion_model = rng.choice(TEXTS)
        elif field == "roi":
            side = rng.choice(("x_offset", "y_offset", "width", "height"))
            setattr(roi, side, uint32(rng, 100) if rng.random() < 0.5 else rng.randrange(300))
        else:
            setattr(message, field, uint32(rng, getattr(message, field)))
    if rng.random() < 0.5:
        message.k, message.d = np.array(message.k, np.float64), array.array("d", message.d)
    return message


_FIELD_NAMES = ("x", "y", "z", "intensity", "t", "time", "timestamp", "time_stamp", "offset_time", "ring", "", "X")
_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 8: 8, 9: 8, 10: 8}


def cloud(rng: random.Random) -> Message:
    """A sensor_msgs/PointCloud2."""
    kinds = [("x", 7), ("y", 7), ("z", 7)] if rng.random() < 0.7 else [("x", 8), ("y", 7), ("z", 8)]
    if rng.random() < 0.7:
        kinds.append((rng.choice(_FIELD_NAMES[4:9]), rng.choice((5, 6, 7, 8, 10))))
    rng.shuffle(kinds)
    fields, offset = [], rng.choice((0, 0, 1, 4))
    for name, datatype in kinds:
        fields.append(Message(name=name, offset=offset, datatype=datatype, count=1))
        offset += _SIZES[datatype] + rng.choice((0, 0, 2))
    width, height, step = rng.randrange(9), rng.choice((1, 1, 2, 5)), offset + rng.choice((0, 3))
    row_step = width * step + (rng.choice((0, 0, 8)) if height > 1 else 0)
    order = rng.choice("<>")
    message = Message(
        header=_header(rng), width=width, height=height, point_step=step, row_step=row_step, fields=fields,
        is_bigendian=order == ">", is_dense=rng.random() < 0.5,
    )  # fmt: skip
    data = _points(rng, message, order)
    for _ in range(rng.randrange(4)):
        part = rng.choice(("width", "height", "point_step", "row_step", "data", "field", "fields"))
        if part == "data":
            data = damaged(rng, data)
        elif part == "field":
            _alter_field(rng, rng.choice(fields))
        elif part == "fields":
            message.fields = rng.choice((fields[:2], fields * 2, fields * 300, []))
        else:
            setattr(message, part, uint32(rng, getattr(message, part)))
    message.data = contained(rng, data)
    return message


def _points(rng: random.Random, message: Message, order: str) -> bytes:
    """Any bytes, with floats of plain size, or notorious ones, where fields of floats lie."""
    data = bytearray(rng.randbytes(message.height * message.row_step))
    for place in range(message.height * message.width if rng.random() < 0.8 else 0):
        row, column = divmod(place, message.width)
        for field in (f for f in message.fields if f.datatype in (7, 8)):
            value = rng.uniform(0, 0.1) if rng.random() < 0.9 else rng.choice((0.0, 3e38, -3e38, *FLOATS[-3:]))
            at = row * message.row_step + column * message.point_step + field.offset
            struct.pack_into(order + ("f" if field.datatype == 7 else "d"), data, at, value)
    return bytes(data)


def _alter_field(rng: random.Random, field: Message) -> None:
    how = rng.randrange(4)
    if how == 0:
        field.name = rng.choice((*_FIELD_NAMES, *TEXTS))
    elif how == 1:
        field.offset = uint32(rng, 8)
    elif how == 2:
        field.datatype = rng.randrange(12) if rng.random() < 0.8 else rng.getrandbits(8)
    else:
        field.count = rng.choice((0, 1, 2, UINT32))


def transforms(rng: random.Random) -> list[Message]:
    """Some geometry_msgs/TransformStamped, between few frames, so that doubles, gaps and loops occur."""
    frames = ("map", "odom", "base_link", "camera", "lidar")
    found = []
    for _ in range(rng.randrange(1, 6)):
        q = [rng.gauss(0, 1) for _ in range(4)] if rng.random() < 0.9 else numbers(rng, [0.0, 0, 0, 1])
        t = [rng.gauss(0, 10) for _ in range(3)] if rng.random() < 0.9 else numbers(rng, [0.0, 0, 0])
        child = rng.randrange(1, len(frames))
        names = [frames[rng.randrange(child)], frames[child]]
        if rng.random() < 0.2:
            names[rng.randrange(2)] = rng.choice((*frames, *TEXTS))
        parts = Message(translation=Message(**dict(zip("xyz", t))), rotation=Message(**dict(zip("xyzw", q))))
        header = _header(rng)
        header.frame_id = names[0]
        found.append(Message(header=header, child_frame_id=names[1], transform=parts, static=rng.random() < 0.4))
    return found


_SETTINGS = [item.name for item in described(Config())]
_VALUES: tuple[Any, ...] = (
    *NUMBERS, *FLOATS, *TEXTS, -1, 2**63, 10**400, True, False, None, (), [], {}, b"x", [1.0] * 3, ["a"], [[1]],
    ["", 1], [float("nan")] * 3, [0.0] * 3, [10**400] * 3, object,
)  # fmt: skip


def parameters(rng: random.Random) -> dict[Any, Any]:
    """Values for `config.with_values`: of the right type or of any other."""
    found: dict[Any, Any] = {}
    defaults = {item.name: item.value for item in described(Config())}
    for _ in range(rng.randrange(1, 4)):
        name = rng.choice(_SETTINGS) if rng.random() < 0.9 else rng.choice((*TEXTS, "engine.", ".", "regions.magic"))
        value = defaults.get(name, 0)
        if rng.random() < 0.5 and isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = type(value)(value + rng.choice((0, 1, 2, -1)))
        else:
            found[name] = rng.choice(_VALUES) if rng.random() < 0.7 else value
    return found


KINDS: dict[str, Callable[[random.Random], Any]] = {
    "image": image,
    "compressed": compressed,
    "info": info,
    "cloud": cloud,
    "transforms": transforms,
    "parameters": parameters,
}
