# SPDX-License-Identifier: Apache-2.0
"""The nastiest inputs by name, and the words that the user sees for each. docs/hostile_input.md is made of them."""

from __future__ import annotations

import array
import struct
import zlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace as Message
from typing import Any

import cv2
import numpy as np

from vl_anomaly_ros.assembly import assemble_frame
from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.decoding.calibration import decode_calibration
from vl_anomaly_ros.decoding.clouds import decode_cloud
from vl_anomaly_ros.decoding.compressed import decode_compressed
from vl_anomaly_ros.decoding.images import decode_image
from vl_anomaly_ros.errors import VlAnomalyError
from vl_anomaly_ros.geometry.transforms import TransformBuffer
from vl_anomaly_ros.matching import cloud_for, why_no_cloud
from vl_anomaly_ros.node.stamps import StampWatch
from vl_anomaly_ros.types import CameraCalibration, PointCloud

S = 1_000_000_000
Words = Callable[[], str]
NAN = float("nan")


def refused(call: Callable[[Any], Any], message: Any) -> str:
    """The words of the refusal; a case that is taken is none."""
    try:
        call(message)
    except VlAnomalyError as error:
        return str(error)
    raise AssertionError(f"{message} was taken")


def _image(**changes: Any) -> Words:
    values = {"encoding": "rgb8", "width": 640, "height": 480, "step": 1920, "is_bigendian": 0, "data": bytes(921600)}
    return lambda: refused(decode_image, Message(**{**values, **changes}))


def _floats(value: float) -> bytes:
    return np.full(640 * 480, value, np.float32).tobytes()


def _file(data: bytes, image_format: str) -> Words:
    return lambda: refused(decode_compressed, Message(format=image_format, data=array.array("B", data)))


_PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
_JPEG, _PNG = (bytes(cv2.imencode(kind, _PICTURE)[1]) for kind in (".jpg", ".png"))


def _bomb() -> bytes:
    header = struct.pack(">4sIIBBBBB", b"IHDR", 16384, 16384, 8, 2, 0, 0, 0)
    return _PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + _PNG[33:]


IMAGES: dict[str, Words] = {
    "data shorter than step x height": _image(data=bytes(900000)),
    "step shorter than a row": _image(step=1900),
    "step that overflows 32 bits times height": _image(step=2**32 - 1),
    "no pixels": _image(width=0),
    "16384 x 16384 pixels": _image(width=16384, height=16384, step=49152),
    "one row of four billion pixels": _image(width=2**32 - 1, height=1, step=2**32 - 1),
    "unknown encoding": _image(encoding="magic"),
    "known encoding that is not decoded": _image(encoding="nv24"),
    "yuv422 of an odd width": _image(encoding="yuv422", width=641, step=1282),
    "mosaic of two rows": _image(encoding="bayer_rggb8", height=2, step=640),
    "depth in metres on the image topic": _image(encoding="32FC1", step=2560, data=_floats(7.5)),
    "NaN in 32FC1": _image(encoding="32FC1", step=2560, data=_floats(NAN)),
    "JPEG cut in the middle": _file(_JPEG[: len(_JPEG) // 2], "jpeg"),
    "PNG with one bit flipped": _file(_PNG[:500] + bytes([_PNG[500] ^ 1]) + _PNG[501:], "png"),
    "PNG of 9 kB that asks for 805 MB": _file(_bomb(), "png"),
    "no data at all": _file(b"", "jpeg"),
    "another file format": _file(b"GIF89a" + bytes(20), "gif"),
    "a compressed depth image": _file(_PNG, "16UC1; compressedDepth png"),
}


def _info(**changes: Any) -> Words:
    values: dict[str, Any] = {
        "header": Message(frame_id="camera"), "width": 640, "height": 480, "distortion_model": "plumb_bob",
        "d": [0.0] * 5, "k": [500.0, 0, 320, 0, 500, 240, 0, 0, 1], "r": [1.0, 0, 0, 0, 1, 0, 0, 0, 1], "p": [0.0] * 12,
        "binning_x": 0, "binning_y": 0, "roi": Message(x_offset=0, y_offset=0, width=0, height=0),
    }  # fmt: skip
    return lambda: refused(decode_calibration, Message(**{**values, **changes}))


def _k(fx: float = 500.0, cx: float = 320.0) -> list[float]:
    return [fx, 0.0, cx, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]


CALIBRATIONS: dict[str, Words] = {
    "focal length NaN": _info(k=_k(fx=NAN)),
    "K all zero (not calibrated)": _info(k=[0.0] * 9),
    "focal length negative": _info(k=_k(fx=-500.0)),
    "principal point far outside": _info(k=_k(cx=1e5)),
    "NaN in D": _info(d=[0.1, NAN, 0.0, 0.0, 0.0]),
    "unknown distortion model": _info(distortion_model="omnidirectional"),
    "more coefficients than the model has": _info(d=[0.1] * 8),
    "R that is no rotation": _info(r=[2.0, 0, 0, 0, 2, 0, 0, 0, 2]),
    "no image size": _info(width=0),
    "roi outside the picture": _info(roi=Message(x_offset=600, y_offset=0, width=100, height=480)),
}


def _fields(names: str, datatype: int = 7, step: int = 4) -> list[Message]:
    return [Message(name=name, offset=step * i, datatype=datatype, count=1) for i, name in enumerate(names)]


def _cloud(**changes: Any) -> Message:
    values: dict[str, Any] = {
        "header": Message(stamp=Message(sec=100, nanosec=0), frame_id="lidar"), "width": 100, "height": 1,
        "fields": _fields("xyz"), "is_bigendian": False, "point_step": 16, "row_step": 1600, "is_dense": True,
        "data": bytes(1600),
    }  # fmt: skip
    return Message(**{**values, **changes})


def _no_cloud(**changes: Any) -> Words:
    return lambda: refused(decode_cloud, _cloud(**changes))


def _times(datatype: int, values: np.ndarray[Any, Any], sec: int = 100) -> Words:
    records = np.zeros(len(values), [("xyz", "<f4", 3), ("t", values.dtype)])
    records["t"] = values
    fields = [*_fields("xyz"), Message(name="time", offset=12, datatype=datatype, count=1)]
    message = _cloud(
        fields=fields, width=len(values), point_step=records.itemsize, data=records.tobytes(),
        header=Message(stamp=Message(sec=sec, nanosec=0), frame_id="lidar"),
    )  # fmt: skip
    return lambda: decode_cloud(message).notes[0]


CLOUDS: dict[str, Words] = {
    "no field x": _no_cloud(fields=_fields("yzi")),
    "x as a 16-bit number": _no_cloud(fields=_fields("xyz", datatype=4)),
    "two fields x": _no_cloud(fields=[*_fields("xyz"), Message(name="x", offset=12, datatype=7, count=1)]),
    "x, y and z in one place": _no_cloud(fields=_fields("xyz", step=0)),
    "a field beyond the end of the point": _no_cloud(point_step=10),
    "data shorter than the points": _no_cloud(data=bytes(1000)),
    "2^32 - 1 times 2^32 - 1 points": _no_cloud(width=2**32 - 1, height=2**32 - 1),
    "row_step shorter than a row": _no_cloud(height=2, width=50, row_step=8),
    "times of points four seconds off": _times(6, np.array([0, 4 * S], np.uint32)),
    "times of points NaN": _times(8, np.array([0.0, NAN])),
    "times that may be two things": _times(8, np.array([0.9, 1.0]), sec=1),
}


def _buffer() -> TransformBuffer:
    buffer = TransformBuffer()
    still, level = np.zeros(3), np.array([0.0, 0, 0, 1])
    buffer.set("base_link", "camera", 0, still, level, static=True)
    buffer.set("base_link", "lidar", 0, still, level, static=True)
    buffer.set("elsewhere", "lost", 0, still, level, static=True)
    for second in (100, 101):
        buffer.set("odom", "base_link", second * S, still, level, static=False)
    return buffer


class _Transforms:
    def __init__(self) -> None:
        self._buffer = _buffer()

    def lookup(self, target: str, source: str, stamp_ns: int) -> Any:
        return self._buffer.lookup(target, source, stamp_ns)

    def has_frame(self, frame: str) -> bool:
        return frame in self._buffer.frames


def _frame(**changes: Any) -> Words:
    """The clauses of a frame that is judged all the same."""
    values: dict[str, Any] = {
        "image": np.zeros((480, 640, 3), np.uint8), "stamp_ns": 100 * S, "camera": "front", "frame_id": "camera",
        "config": Config(), "transforms": _Transforms(),
    }  # fmt: skip
    return lambda: "; ".join(assemble_frame(**{**values, **changes}).missing)


def _points(stamp_ns: int = 100 * S, frame_id: str = "lidar") -> PointCloud:
    return PointCloud(np.zeros((1, 3), np.float32), stamp_ns, frame_id)


def _why(image_ns: int, clouds_ns: Sequence[int]) -> Words:
    sync = Config().sync

    def words() -> str:
        assert cloud_for(image_ns, clouds_ns, sync.policy, sync.slop_s) is None
        return why_no_cloud(image_ns, clouds_ns, sync.policy, sync.slop_s)

    return words


def _verdict(*seconds: int) -> Words:
    def words() -> str:
        watch = StampWatch()
        return [watch.see(second * S) for second in seconds][-1].value

    return words


_OTHER_SIZE = CameraCalibration(320, 240, np.array([[500.0, 0, 160], [0, 500, 120], [0, 0, 1]]), "camera")
STAMPS_AND_FRAMES: dict[str, Words] = {
    "image stamped 0": _frame(stamp_ns=0),
    "image stamped before 1970": _frame(stamp_ns=-S),
    "image without a frame id": _frame(frame_id=""),
    "image in a frame that TF does not know": _frame(frame_id="camera_2"),
    "cloud in a frame of another tree": _frame(points=_points(frame_id="lost")),
    "cloud from before the first transform": _frame(points=_points(stamp_ns=90 * S)),
    "CameraInfo of another size": _frame(calibration=_OTHER_SIZE),
    "image stamped 0, with clouds at hand": _why(0, [100 * S]),
    "no cloud stamped": _why(100 * S, [0]),
    "clouds five seconds old": _why(100 * S, [95 * S]),
    "a stamp that goes back a little": _verdict(10, 11, 10),
    "one stamp far off": _verdict(10, 11, 5000),
    "a recording that begins again": _verdict(50, 51, 10, 11, 12),
}


def _transform(parent: str, child: str, t: Sequence[float] = (0, 0, 0), q: Sequence[float] = (0, 0, 0, 1)) -> Words:
    def put(pair: tuple[str, str]) -> None:
        _buffer().set(*pair, 100 * S, np.array(t, float), np.array(q, float), static=False)

    return lambda: refused(put, (parent, child))


TRANSFORMS: dict[str, Words] = {
    "a frame in itself": _transform("camera", "camera"),
    "no name": _transform("", "camera"),
    "a loop": _transform("camera", "base_link"),
    "NaN": _transform("odom", "base_link", t=(NAN, 0, 0)),
    "a place beyond the solar system": _transform("odom", "base_link", t=(1e300, 0, 0)),
    "no rotation at all": _transform("odom", "base_link", q=(0, 0, 0, 0)),
}


def _setting(name: str, value: Any) -> Words:
    return lambda: refused(lambda values: with_values(Config(), values), {name: value})


SETTINGS: dict[str, Words] = {
    "a name that does not exist": _setting("region.threshold", 0.5),
    "NaN as a setting": _setting("fusion.max_range_m", NAN),
    "out of range": _setting("regions.threshold", 7.0),
    "a text where a number belongs": _setting("regions.min_area_px", "many"),
    "a number with 400 digits": _setting("fusion.max_range_m", 10**400),
}

SECTIONS: dict[str, dict[str, Words]] = {
    "images": IMAGES,
    "calibrations": CALIBRATIONS,
    "clouds": CLOUDS,
    "stamps and frames": STAMPS_AND_FRAMES,
    "transforms": TRANSFORMS,
    "settings": SETTINGS,
}
