# SPDX-License-Identifier: Apache-2.0
"""Replay through the real node over DDS, in lock-step: the next image goes out when the last is answered."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vl_anomaly_ros.config import Config, described, with_values
from vl_anomaly_ros.decoding.clouds import decode_cloud
from vl_anomaly_ros.decoding.images import decode_image
from vl_anomaly_ros.engine.bundle import default_bundle_path, load_bundle
from vl_anomaly_ros.errors import DataError, ReplayError
from vl_anomaly_ros.matching import cloud_for
from vl_anomaly_ros.replay.bag import TF, Bag, Entry
from vl_anomaly_ros.replay.frames import FrameSource
from vl_anomaly_ros.replay.interfaces import ANOMALIES, IMAGE, PACKAGE, ZONES, typestore
from vl_anomaly_ros.replay.outcome import Outcome, Progress
from vl_anomaly_ros.replay.output import ResultFolder
from vl_anomaly_ros.replay.records import FrameRecord, record_of_messages
from vl_anomaly_ros.replay.timed_transforms import LOOK_AHEAD_NS, TimedTransforms
from vl_anomaly_ros.replay.topics import CameraTopics
from vl_anomaly_ros.types import ByteArray

if TYPE_CHECKING:
    from vl_anomaly_ros.node.player import NodePlayer

logger = logging.getLogger(__name__)

_WAIT_S = 2.0  # for what DDS still has under way; what the recording lacks costs this much, once or for a last image
_ANSWER_S = 60.0
_BURST = 3  # sensor messages in a row that the node's queues hold for certain
_BREATH_S = 0.03


def replay_live(
    bag: Bag, source: FrameSource, points_topic: str | None, config: Config, folder: ResultFolder, progress: Progress
) -> Outcome:
    """Play a recording through the node and write what it publishes. Each camera has a node of its own, one by one.

    Raises:
        ReplayError: ROS 2 is not at hand, or the node does not start or dies.
    """
    player_class = _player_class()
    bundle = load_bundle(config.engine.bundle or default_bundle_path())
    outcome = Outcome(bundle_sha256=bundle.sha256)
    transforms = TimedTransforms.of(bag)
    done = 0
    for camera in dict.fromkeys(camera for camera, _ in source.images):
        images = [entry for named, entry in source.images if named == camera]
        parameters = _parameters(config, camera, str(bundle.path.resolve()), points=points_topic is not None)
        session = player_class(parameters, compressed=camera.compressed, points=points_topic is not None)
        with session as player:
            feed = _Feed(bag, player, camera, points_topic, transforms, config)
            for entry in images:
                record, outputs, picture = feed.ask(entry)
                if record.engine:
                    outcome.backend = record.engine.split("/")[0]
                if not outputs:
                    outcome.dropped += 1
                folder.add(record, entry.log_ns, outputs, picture)
                done += 1
                progress(record, done, len(source))
    return outcome


class _Feed:
    """Publishes a recording for one camera, image by image, with everything that belongs to an image before it."""

    def __init__(
        self,
        bag: Bag,
        player: NodePlayer,
        camera: CameraTopics,
        points_topic: str | None,
        transforms: TimedTransforms,
        config: Config,
    ) -> None:
        self._bag, self._player, self._camera, self._transforms = bag, player, camera, transforms
        self._infos = bag.entries.get(camera.info or "", [])
        self._clouds = bag.entries.get(points_topic or "", [])
        self._sync = config.sync
        others = [("camera_info", e) for e in self._infos] + [("points", e) for e in self._clouds]
        self._others = sorted(others, key=lambda pair: pair[1].log_ns)
        self._sent_others = self._sent_transforms = 0
        self._store = typestore()
        self._send_transforms("tf_static", transforms.static)

    def ask(self, entry: Entry) -> tuple[FrameRecord, dict[str, bytes], ByteArray | None]:
        """The record of one image, the serialised outputs and the overlay picture; both empty where none came."""
        try:
            raw = self._bag.raw(entry)
            self._bag.parse(entry, raw)
        except ReplayError as error:  # cannot be published either
            return FrameRecord(entry.stamp_ns, self._camera.name, ok=False, reason=str(error)), {}, None
        self._send_what_belongs_to(entry)
        if self._sync.policy == "newest":  # the node takes what is there, and does not wait
            self._player.pause(_BREATH_S)
        outputs, total_ms = self._player.ask(raw, entry.stamp_ns, _ANSWER_S)
        if "anomalies" not in outputs:
            reason = f"the node did not answer within {_ANSWER_S:g} s"
            return FrameRecord(entry.stamp_ns, self._camera.name, ok=False, reason=reason), {}, None
        anomalies = self._store.deserialize_cdr(outputs["anomalies"], ANOMALIES)
        zones = self._store.deserialize_cdr(outputs["hazard_zones"], ZONES) if "hazard_zones" in outputs else None
        record = record_of_messages(anomalies, zones, entry.frame_id, total_ms)
        return record, outputs, self._picture(outputs)

    def _picture(self, outputs: dict[str, bytes]) -> ByteArray | None:
        if "overlay" not in outputs:
            return None
        try:
            return decode_image(self._store.deserialize_cdr(outputs["overlay"], IMAGE))
        except DataError as error:
            logger.warning("the overlay of the node cannot be read: %s", error)
            return None

    def _send_what_belongs_to(self, image: Entry) -> None:
        """Everything recorded until the image, and further until calibration, cloud and transforms cover its stamp."""
        until = self._needed_log_ns(image)
        items: list[Any] = []
        while (
            self._sent_transforms < len(self._transforms.items)
            and self._transforms.log_ns[self._sent_transforms] <= until
        ):
            items += self._transforms.items[self._sent_transforms]
            self._sent_transforms += 1
        self._send_transforms("tf", items)
        for count, (name, entry) in enumerate(self._due(until), start=1):
            self._player.publish(name, self._bag.raw(entry))
            if count % _BURST == 0:
                self._player.pause(_BREATH_S)

    def _due(self, until: int) -> Iterator[tuple[str, Entry]]:
        while self._sent_others < len(self._others) and self._others[self._sent_others][1].log_ns <= until:
            yield self._others[self._sent_others]
            self._sent_others += 1

    def _needed_log_ns(self, image: Entry) -> int:
        horizon = image.log_ns + LOOK_AHEAD_NS
        clouds = [entry for entry in self._clouds if entry.log_ns <= horizon]
        stamps = [entry.stamp_ns for entry in clouds]
        chosen = cloud_for(image.stamp_ns, stamps, self._sync.policy, self._sync.slop_s)
        needed = image.log_ns if chosen is None else max(image.log_ns, clouds[chosen].log_ns)
        reach_ns = int(self._sync.slop_s * 1e9) if self._sync.policy == "nearest" else 0
        for entries, last_stamp in ((self._infos, image.stamp_ns), (self._clouds, image.stamp_ns + reach_ns)):
            later = [e.log_ns for e in entries if image.stamp_ns <= e.stamp_ns <= last_stamp and e.log_ns <= horizon]
            needed = max(needed, min(later, default=needed))
        last_ns = image.stamp_ns if chosen is None else max(image.stamp_ns, self._end_of_sweep(clouds[chosen]))
        needed = max(needed, self._transforms.known_at(last_ns, image.log_ns, horizon))
        if self._infos:  # an image recorded before the first calibration is judged with that one
            needed = max(needed, min(e.log_ns for e in self._infos))
        return needed

    def _end_of_sweep(self, entry: Entry) -> int:
        """Stamp of the last point of a cloud."""
        try:
            points = decode_cloud(self._bag.message(entry))
        except (DataError, ReplayError):
            return entry.stamp_ns
        offsets = points.offsets_ns
        return points.stamp_ns if offsets is None or not len(offsets) else points.stamp_ns + max(0, int(offsets.max()))

    def _send_transforms(self, name: str, items: Sequence[Any]) -> None:
        """All transforms at once: many small messages in a row would overflow a queue."""
        if items:
            message = self._store.types[TF](transforms=list(items))
            self._player.publish(name, bytes(self._store.serialize_cdr(message, TF)))


def _parameters(config: Config, camera: CameraTopics, bundle: str, *, points: bool) -> dict[str, Any]:
    """The node's parameters for a recording: those that differ from the defaults.

    In lock-step nothing queues up: what is slow is waited for, and neither given up nor left out.
    """
    config = with_values(
        config,
        {
            "engine.bundle": bundle,
            "node.cameras": (camera.name,),
            "node.image_transport": "compressed" if camera.compressed else "raw",
            "node.image_reliability": "reliable",
            "node.points": points,
            "node.autostart": False,
            "node.latency_budget_s": max(config.node.latency_budget_s, _ANSWER_S),
            "engine.timeout_s": max(config.engine.timeout_s, _ANSWER_S),
            "sync.wait_s": _WAIT_S,
        },
    )
    defaults = {item.name: item.value for item in described(Config())}
    return {
        item.name: list(item.value) if isinstance(item.value, tuple) else item.value
        for item in described(config)
        if item.value != defaults[item.name]
    }


def live_refusal() -> str | None:
    """Why live replay cannot be done here, None where it can."""
    try:
        _player_class()
    except ReplayError as error:
        return str(error)
    return None


def _player_class() -> Callable[..., NodePlayer]:
    """The ROS side, imported only now.

    Raises:
        ReplayError: this Python has no ROS 2, or our messages are not built.
    """
    profile = next((p for p in _profiles() if p.is_file()), None)
    if profile is not None:  # Fast DDS's defaults lose large images
        os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(profile))
    try:
        from vl_anomaly_ros.node.player import NodePlayer
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise ReplayError(
            f"live replay needs ROS 2 and the built package ({reason}); start it by `./run vl-anomaly replay ...` or "
            "in a terminal where the workspace is sourced, or leave --live out"
        ) from error
    return NodePlayer


def _profiles() -> Iterator[Path]:
    """Where the shipped Fast DDS profile may lie."""
    yield Path(__file__).resolve().parents[2] / "config" / "fastdds.xml"
    for prefix in (*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix):
        yield Path(prefix) / "share" / PACKAGE / "config" / "fastdds.xml"
