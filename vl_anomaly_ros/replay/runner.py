# SPDX-License-Identifier: Apache-2.0
"""Replay of a recording: every image of every camera through the pipeline, or through the live node, into a folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vl_anomaly_ros.config import Config
from vl_anomaly_ros.errors import ReplayError
from vl_anomaly_ros.overlay import draw_overlay
from vl_anomaly_ros.pipeline import Pipeline
from vl_anomaly_ros.replay.bag import TF, Bag
from vl_anomaly_ros.replay.birdseye import read_truth
from vl_anomaly_ros.replay.frames import REPLAY_CONFIG, FrameSource, UnreadableFrame
from vl_anomaly_ros.replay.interfaces import typestore
from vl_anomaly_ros.replay.live import replay_live
from vl_anomaly_ros.replay.messages import output_messages
from vl_anomaly_ros.replay.outcome import Outcome, Progress
from vl_anomaly_ros.replay.output import ResultFolder
from vl_anomaly_ros.replay.records import FrameRecord, record_of_result
from vl_anomaly_ros.replay.report import Report
from vl_anomaly_ros.replay.summary import summarise
from vl_anomaly_ros.replay.topics import CameraTopics, TopicChoice, find_cameras, find_points
from vl_anomaly_ros.types import Frame, FrameResult

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReplayJob:
    """What to replay and where to.

    Attributes:
        bag: bag folder, .mcap or .db3 file.
        out: result folder.
        config: settings.
        topics: topics and camera that a person named.
        limit: at most so many frames a camera; None: all.
        live: through the real node over DDS instead of in this process.
        title: heading of the report.
        truth: objects that are really there, for the plots: see `birdseye.read_truth`; None: not known.
    """

    bag: Path
    out: Path
    config: Config = REPLAY_CONFIG
    topics: TopicChoice = field(default_factory=TopicChoice)
    limit: int | None = None
    live: bool = False
    title: str = ""
    truth: Path | None = None


def _silent(record: FrameRecord, done: int, total: int) -> None:
    del record, done, total


@dataclass(frozen=True)
class Replayed:
    """A finished replay: content of summary.json, and every frame by stamp and camera."""

    summary: dict[str, Any]
    records: list[FrameRecord]


def replay(job: ReplayJob, progress: Progress = _silent) -> Replayed:
    """Replay a recording into `job.out`.

    Raises:
        ReplayError: the recording cannot be used, or the results cannot be written.
        VlAnomalyError: the bundle or the backend cannot be used, or (live) the node does not start.
    """
    truth = {} if job.truth is None else read_truth(job.truth)
    with Bag(job.bag) as bag:
        cameras = find_cameras(bag, job.topics)
        points_topic = find_points(bag, job.topics)
        source = FrameSource(bag, cameras, points_topic, job.config, job.limit)
        if not len(source):
            raise ReplayError(f"{job.bag}: the image topics hold no messages; nothing to replay")
        for camera in cameras:
            logger.info("camera %s: %s, info %s, points %s", camera.name, camera.image, camera.info, points_topic)
        with ResultFolder(job.out, [c.name for c in cameras], job.config) as folder:
            _pass_through(bag, cameras, folder)
            if job.live:
                outcome = replay_live(bag, source, points_topic, job.config, folder, progress)
            else:
                outcome = _replay_offline(source, job.config, folder, progress)
            summary = summarise(
                folder.records,
                frames_in=len(source),
                dropped=outcome.dropped,
                method=job.config.method.name,
                backend=outcome.backend,
                bundle_sha256=outcome.bundle_sha256,
            )
            report = Report(job.title or job.bag.stem, job.config, truth)
            folder.finish(summary, {"report.html": report.render(folder.records, summary, folder.picture)})
    return Replayed(summary, folder.records)


def _replay_offline(source: FrameSource, config: Config, folder: ResultFolder, progress: Progress) -> Outcome:
    pipeline = Pipeline(config)
    try:
        for done, (entry, frame) in enumerate(source, start=1):
            if isinstance(frame, UnreadableFrame):
                record = FrameRecord(frame.stamp_ns, frame.camera, ok=False, reason=frame.reason)
                folder.add(record, entry.log_ns, {})
            else:
                result = _judged(pipeline, frame)
                record = record_of_result(result)
                picture = draw_overlay(result)
                messages = output_messages(result, picture, config.frames.ego_frame)
                store = typestore()
                raw = {name: bytes(store.serialize_cdr(m, m.__msgtype__)) for name, m in messages.items()}
                folder.add(record, entry.log_ns, raw, picture)
            progress(record, done, len(source))
        return Outcome(pipeline.engine_name.split("/")[0], pipeline.bundle.sha256)
    finally:
        pipeline.close()


def _judged(pipeline: Pipeline, frame: Frame) -> FrameResult:
    """The result of a frame; also of one that makes the pipeline fail in a way that nobody foresaw."""
    try:
        return pipeline.process(frame)
    except Exception as error:
        logger.exception("camera %s, stamp %d ns: the pipeline failed", frame.camera, frame.stamp_ns)
        return FrameResult(frame=frame, ok=False, reason=f"{type(error).__name__}: {error}")


def _pass_through(bag: Bag, cameras: tuple[CameraTopics, ...], folder: ResultFolder) -> None:
    """Transforms and calibrations go into the results recording too, so that it can be shown by itself."""
    for static, log_ns, raw, _ in bag.transforms():
        folder.write("/tf_static" if static else "/tf", TF, log_ns, raw, latched=static)
    for topic in sorted({camera.info for camera in cameras if camera.info}):
        for entry in bag.entries.get(topic, []):
            folder.write(topic, bag.topics[topic].msgtype, entry.log_ns, bag.raw(entry))
