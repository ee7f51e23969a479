# SPDX-License-Identifier: Apache-2.0
"""Which topics of a recording are cameras, calibrations and point clouds: by type, unless named."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

from vl_anomaly_ros.errors import ReplayError
from vl_anomaly_ros.replay.bag import CLOUD, COMPRESSED, IMAGE, INFO, Bag, Topic

logger = logging.getLogger(__name__)

# Of several pictures of one camera the least processed wins: the calibration's distortion belongs to it.
_PREFERRED = ("image_raw", "image", "image_color")
# No pictures: depth, label and probability images.
_NOT_PICTURES = ("16UC1", "16SC1", "32FC1", "64FC1", "32SC1")


@dataclass(frozen=True)
class CameraTopics:
    """The topics of one camera; `info` is None where the recording has no CameraInfo for it."""

    name: str
    image: str
    compressed: bool
    info: str | None


@dataclass(frozen=True)
class TopicChoice:
    """Topics and camera that a person named; None: found by type."""

    camera: str | None = None
    image: str | None = None
    info: str | None = None
    points: str | None = None


def camera_name(image_topic: str) -> str:
    """The name of a camera by the namespace of its image topic.

    >>> camera_name("/camera/image_raw"), camera_name("/front/left/image_raw/compressed"), camera_name("/image")
    ('camera', 'front_left', 'camera')
    """
    parts = [part for part in image_topic.split("/") if part]
    if parts and parts[-1] == "compressed":
        parts.pop()
    return "_".join(parts[:-1]) or "camera"


def find_cameras(bag: Bag, choice: TopicChoice) -> tuple[CameraTopics, ...]:
    """Every camera of the recording by name, or the one that `choice` names.

    Raises:
        ReplayError: no picture, an unknown camera, or a named topic of another type.
    """
    if choice.camera is not None and not re.fullmatch(r"\w[\w.-]*", choice.camera):
        raise ReplayError(f"camera {choice.camera!r}: expected a name of letters, digits, '_', '-' and '.'")
    if choice.image is not None:
        topic = _named(bag, choice.image, (IMAGE, COMPRESSED), "--image-topic")
        name = choice.camera or camera_name(topic.name)
        return (CameraTopics(name, topic.name, topic.msgtype == COMPRESSED, _info(bag, topic, choice)),)
    pictures = [t for t in bag.topics.values() if _is_picture(t)]
    if not pictures:
        kinds = ", ".join(sorted({t.msgtype for t in bag.topics.values()})) or "no topics at all"
        raise ReplayError(f"{bag.path}: no camera images in it; expected {IMAGE} or {COMPRESSED}, found {kinds}")
    with_info = [t for t in pictures if _info(bag, t, choice) is not None]
    if with_info and len(with_info) < len(pictures):
        left_out = sorted(t.name for t in pictures if t not in with_info)
        logger.warning("images without camera info are left out: %s (--image-topic takes one)", ", ".join(left_out))
    groups: dict[str, list[Topic]] = {}
    for topic in with_info or pictures:
        groups.setdefault(camera_name(topic.name), []).append(topic)
    cameras = {name: min(topics, key=_rank) for name, topics in sorted(groups.items())}
    if choice.camera is not None:
        if choice.camera not in cameras:
            raise ReplayError(f"{bag.path}: no camera {choice.camera!r} in it; there are: {', '.join(cameras)}")
        cameras = {choice.camera: cameras[choice.camera]}
    return tuple(
        CameraTopics(name, topic.name, topic.msgtype == COMPRESSED, _info(bag, topic, choice))
        for name, topic in cameras.items()
    )


def find_points(bag: Bag, choice: TopicChoice) -> str | None:
    """The topic of the point cloud, None where there is none. Of several, the one with the most messages.

    Raises:
        ReplayError: the named topic is of another type.
    """
    if choice.points is not None:
        return _named(bag, choice.points, (CLOUD,), "--points-topic").name
    clouds = sorted((t for t in bag.topics.values() if t.msgtype == CLOUD), key=lambda t: (-t.count, t.name))
    if len(clouds) > 1:
        logger.warning(
            "several point clouds: %s is used, not %s (--points-topic takes another)",
            clouds[0].name,
            ", ".join(t.name for t in clouds[1:]),
        )
    return clouds[0].name if clouds else None


def _is_picture(topic: Topic) -> bool:
    if topic.msgtype == COMPRESSED:
        return "compressedDepth" not in topic.encoding and not topic.name.endswith("/compressedDepth")
    return topic.msgtype == IMAGE and topic.encoding not in _NOT_PICTURES


def _rank(topic: Topic) -> tuple[bool, int, str]:
    """Raw before compressed, then the least processed."""
    parts = [part for part in topic.name.split("/") if part and part != "compressed"]
    base = parts[-1] if parts else ""
    preference = _PREFERRED.index(base) if base in _PREFERRED else len(_PREFERRED)
    return topic.msgtype == COMPRESSED, preference, topic.name


def _info(bag: Bag, topic: Topic, choice: TopicChoice) -> str | None:
    """The CameraInfo of an image: the named one, of the same namespace, or of the same frame."""
    if choice.info is not None:
        return _named(bag, choice.info, (INFO,), "--info-topic").name
    infos = [t for t in bag.topics.values() if t.msgtype == INFO]
    image = topic.name.removesuffix("/compressed")
    beside = image.rsplit("/", 1)[0] + "/camera_info"
    if any(t.name == beside for t in infos):
        return beside
    same_frame = sorted(t.name for t in infos if t.frame_id and t.frame_id == topic.frame_id)
    return same_frame[0] if same_frame else None


def _named(bag: Bag, name: str, msgtypes: Iterable[str], flag: str) -> Topic:
    wanted = tuple(msgtypes)
    topic = bag.topics.get(name)
    if topic is None:
        there = ", ".join(sorted(t.name for t in bag.topics.values() if t.msgtype in wanted)) or "none"
        raise ReplayError(f"{bag.path}: no topic {name!r} ({flag}); of that type there are: {there}")
    if topic.msgtype not in wanted:
        raise ReplayError(f"{bag.path}: {flag} {name} is a {topic.msgtype}; expected {' or '.join(wanted)}")
    return topic
