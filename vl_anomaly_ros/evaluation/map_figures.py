# SPDX-License-Identifier: Apache-2.0
"""Every figure that needs score maps and labels alone: pixels first, then components at a threshold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.components import TRACKS, ComponentFigures, ComponentMetrics
from vl_anomaly_ros.evaluation.metrics import RECALLS, PixelFigures, PixelMetrics
from vl_anomaly_ros.evaluation.score_maps import ScoreMapFile

PIXEL_KEYS = ("auprc", "auroc", "fpr95", "f1_max", "f1_threshold", "anomaly_share")
TRACK_KEYS = ("siou_gt", "ppv", "f1_mean")


@dataclass(frozen=True)
class MapFigures:
    """Figures of score maps; what is undefined is None, and the reason is given.

    Attributes:
        pixel: of all pixels; None where one kind of them is absent.
        no_pixel: why `pixel` is None; else empty.
        threshold: of the components, inclusive; None where there is none.
        tracks: components by SegmentMeIfYouCan's track; empty without a threshold.
        images: how many.
    """

    pixel: PixelFigures | None
    no_pixel: str
    threshold: float | None
    tracks: dict[str, ComponentFigures]
    images: int

    def plain(self) -> dict[str, Any]:
        """For JSON: keys auprc, auroc, fpr95, f1_max and, by track, siou_gt, ppv, f1_mean; null with a reason."""
        pixel = {} if self.pixel is None else asdict(self.pixel)
        reasons = {} if self.pixel else dict.fromkeys(PIXEL_KEYS, self.no_pixel)
        tracks: dict[str, dict[str, Any]] = {}
        for name in TRACKS:
            if name in self.tracks:
                tracks[name] = asdict(self.tracks[name])
                reasons |= {f"{name}.{key}": _absent(key) for key in TRACK_KEYS if tracks[name][key] is None}
            else:
                tracks[name] = dict.fromkeys(TRACK_KEYS)
                reasons |= {f"{name}.{key}": f"no threshold: {self.no_pixel}" for key in TRACK_KEYS}
        return {
            "images": self.images,
            **{key: pixel.get(key) for key in PIXEL_KEYS},
            "pixels": pixel.get("pixels"),
            "retention": dict(zip(map(str, RECALLS), pixel["retained"])) if pixel else None,
            "threshold": self.threshold,
            "tracks": tracks,
            "reasons": reasons,
        }

    def lines(self) -> list[str]:
        """For people."""
        if self.pixel is None:
            lines = [f"pixel figures undefined: {self.no_pixel}"]
        else:
            p = self.pixel
            shares = f"AuPRC {p.auprc:.4f}  AuROC {p.auroc:.4f}  FPR95 {p.fpr95:.4f}  F1max {p.f1_max:.4f} at "
            lines = [shares + f"{p.f1_threshold:.6g}; {100 * p.anomaly_share:.3f} % of {p.pixels} pixels are anomalous"]
        for name, track in self.tracks.items():
            siou, ppv, f1 = ("  none" if v is None else f"{v:.4f}" for v in (track.siou_gt, track.ppv, track.f1_mean))
            lines.append(
                f"{name:<14} sIoU {siou}  PPV {ppv}  F1 {f1}; {track.true_components} true, "
                f"{track.predicted_components} predicted components from {self.threshold:.6g}"
            )
        return lines


def judge_maps(maps: Iterable[ScoreMapFile], threshold: float | None = None) -> MapFigures:
    """Measure score maps.

    Args:
        maps: read twice, so not an iterator.
        threshold: of the components, inclusive; None: that of the best pixel F1, as the benchmark takes it.

    Raises:
        EvaluationError: naming the image, where a score is not finite.
    """
    pixels = PixelMetrics()
    images = 0
    for item in maps:
        images += 1
        with naming(item.name):
            pixels.update(item.score, item.label)
    pixel, no_pixel = defined(pixels)
    if threshold is None and pixel is not None:
        threshold = pixel.f1_threshold
    return MapFigures(pixel, no_pixel, threshold, {} if threshold is None else _tracks(maps, threshold), images)


def defined(metrics: PixelMetrics) -> tuple[PixelFigures | None, str]:
    """The figures, or None and why there are none."""
    try:
        return metrics.compute(), ""
    except EvaluationError as error:
        return None, str(error).removeprefix("metrics: ")


def _tracks(maps: Iterable[ScoreMapFile], threshold: float) -> dict[str, ComponentFigures]:
    metrics = {name: ComponentMetrics(track, threshold) for name, track in TRACKS.items()}
    for item in maps:
        with naming(item.name):
            for metric in metrics.values():
                metric.update(item.score, item.label)
    return {name: metric.compute() for name, metric in metrics.items()}


def _absent(key: str) -> str:
    return {
        "siou_gt": "no true component is large enough",
        "ppv": "no predicted component is large enough",
        "f1_mean": "no component, true or predicted, is large enough",
    }[key]


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the name of the image before an error."""
    try:
        yield
    except EvaluationError as error:
        raise EvaluationError(f"{name}: {error}") from error
