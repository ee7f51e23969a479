# SPDX-License-Identifier: Apache-2.0
"""Outliers pasted into normal pictures: a labelled set where no anomaly was ever recorded.

Pasting trains nothing here; it only says which source to trust and how much. What is pasted is either cut out of a
simulated set or made up: a blob, a polygon or a box with a made-up texture. It stands on flat ground as a thing of its
size would, its edge is blended, and its brightness is drawn towards its surroundings, so that the seam alone does not
give it away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.image_set import ANOMALY, VOID, ImageSet, LabelledImage
from vl_anomaly_ros.types import ByteArray, DoubleArray, FloatArray

_SHAPE_PX = 96


@dataclass(frozen=True)
class Cutout:
    """Something to paste.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        alpha: (h, w) float32, 1 where the thing is, 0 where it is not.
        category: its name; empty where it has none.
    """

    image: ByteArray
    alpha: FloatArray
    category: str = ""


@dataclass(frozen=True)
class PasteSettings:
    """How things are pasted.

    Attributes:
        seed: the same seed pastes the same.
        mean_count: mean number of things a picture; at least one is pasted.
        size_m: smallest and largest height, drawn evenly in its logarithm.
        camera_height_m: above the ground; with it a height in metres has pixels at each distance.
        horizon: row of the horizon as a share of the picture's height.
        feather_px: blur of the edge, standard deviation.
        match: how far the brightness goes towards that of the surroundings, 0..1.
    """

    seed: int = 0
    mean_count: float = 2.0
    size_m: tuple[float, float] = (0.2, 1.6)
    camera_height_m: float = 1.5
    horizon: float = 0.45
    feather_px: float = 0.7
    match: float = 0.5


def cutouts_of(images: ImageSet, min_area_px: int = 150, most: int = 500) -> list[Cutout]:
    """The anomalies of a simulated set that are whole in the picture.

    Args:
        images: with instances and objects.
        min_area_px: smaller ones are left out.
        most: at most so many, the first ones.

    Raises:
        EvaluationError: there are none.
    """
    found: list[Cutout] = []
    for item in images:
        height, width = item.semantic.shape
        for record in item.objects:
            x0, y0, x1, y1 = record["bbox"]
            whole = x0 > 0 and y0 > 0 and x1 < width and y1 < height
            if record["known"] or not whole or record["area_px"] < min_area_px:
                continue
            mask = item.instances[y0:y1, x0:x1] == record["instance"]
            found.append(Cutout(item.image[y0:y1, x0:x1].copy(), mask.astype(np.float32), record["category"]))
        if len(found) >= most:
            break
    if not found:
        raise EvaluationError(
            f"{images.root}: expected anomalies to cut out, found none of {min_area_px} px; make a set with "
            "`vl-anomaly simulate images --anomalies seen`"
        )
    return found[:most]


def made_up(rng: np.random.Generator) -> Cutout:
    """A random shape with a random texture."""
    size = _SHAPE_PX
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    corners = int(rng.integers(3, 9))
    if rng.random() < 0.5:  # a blob: a circle with a few waves around it
        radius: DoubleArray = np.ones(len(angle))
        for wave in range(1, 6):
            radius = radius + rng.normal(0, 0.25 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    else:
        angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radius = rng.uniform(0.6, 1.0, corners)
    stretch = np.array([np.exp(rng.normal(0, 0.5)), 1.0])
    outline = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.maximum(radius, 0.2)[:, None] * stretch
    outline = outline - outline.min(axis=0)
    outline *= (size - 1) / max(float(outline.max()), 1e-6)
    width, height = np.maximum(np.ceil(outline.max(axis=0)).astype(int) + 1, 8)
    alpha = np.zeros((height, width), np.uint8)
    cv2.fillPoly(alpha, [np.round(outline).astype(np.int32)], 1)
    return Cutout(_texture(rng, int(width), int(height)), alpha.astype(np.float32))


def _texture(rng: np.random.Generator, width: int, height: int) -> ByteArray:
    """Two colours mixed by smooth noise, stripes or checks, darker towards the ground."""
    first, second = rng.uniform(0, 255, (2, 3))
    noise: FloatArray = np.zeros((height, width), np.float32)
    for cells in (3, 7, 15):
        coarse = rng.random((cells, cells)).astype(np.float32)
        smooth = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
        noise += smooth / np.float32(cells**0.5)
    noise = (noise - noise.min()) / max(float(np.ptp(noise)), 1e-6)
    y, x = np.mgrid[:height, :width]
    period = rng.uniform(6, 40)
    waves = np.sin(2 * np.pi * (x * np.cos(period) + y * np.sin(period)) / period)
    checks = waves * np.sin(2 * np.pi * (x - y) / period)
    kind = rng.integers(4)
    mix = noise if kind < 2 else (np.sign(waves if kind == 2 else checks) * 0.4 + 0.5) * 0.7 + noise * 0.3
    colour = first + np.clip(mix, 0, 1)[..., None] * (second - first)
    shade = np.linspace(1.1, rng.uniform(0.6, 1.0), height)[:, None, None]
    return np.asarray(np.clip(colour * shade + rng.normal(0, 4, colour.shape), 0, 255), np.uint8)


class PastedImages:
    """Normal pictures with outliers pasted in: iterates the same each time.

    Args:
        normal: pictures; what their semantics call an anomaly is refused.
        cutouts: what to paste; without any, made-up shapes.
        settings: how.
    """

    def __init__(self, normal: Iterable[LabelledImage], cutouts: Sequence[Cutout], settings: PasteSettings) -> None:
        self._normal, self._cutouts, self._settings = normal, cutouts, settings

    def __iter__(self) -> Iterator[LabelledImage]:
        for item in self._normal:
            yield self._pasted(item)

    def _pasted(self, item: LabelledImage) -> LabelledImage:
        if (item.semantic == ANOMALY).any():
            raise EvaluationError(
                f"image {item.index}: expected a normal picture, it has anomalies; calibrate with --images on this set"
            )
        settings = self._settings
        rng = np.random.default_rng([settings.seed, item.index])
        image, semantic = item.image.copy(), item.semantic.copy()
        instances = np.zeros(semantic.shape, np.uint16)
        categories: dict[int, str] = {}
        for number in range(1, 1 + max(int(rng.poisson(settings.mean_count)), 1)):
            cutout = self._cutouts[int(rng.integers(len(self._cutouts)))] if self._cutouts else made_up(rng)
            paste(rng, image, semantic, instances, number, cutout, settings)
            categories[number] = cutout.category
        objects = tuple(
            {"instance": number, "category": name, "known": False}
            for number, name in categories.items() if name
        )  # fmt: skip
        return LabelledImage(item.index, image, semantic, instances, objects)


def paste(
    rng: np.random.Generator, image: ByteArray, semantic: ByteArray, instances: npt.NDArray[np.uint16], number: int,
    cutout: Cutout, settings: PasteSettings,
) -> None:  # fmt: skip
    """Put a thing into a picture, in place. Its blended edge becomes void: it is neither."""
    height, width = semantic.shape
    horizon = settings.horizon * height
    bottom = int(rng.uniform(horizon + 0.08 * height, height))
    low, high = np.log(settings.size_m)
    tall = np.exp(rng.uniform(low, high)) / settings.camera_height_m * (bottom - horizon)
    h, w = cutout.alpha.shape
    scale = max(min(tall / h, 0.9 * width / w, 0.9 * bottom / h), 4 / h)
    w, h = max(round(w * scale), 2), max(round(h * scale), 2)
    sharp = cv2.resize(cutout.alpha, (w, h), interpolation=cv2.INTER_AREA)
    picture = cv2.resize(cutout.image, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32)
    if rng.random() < 0.5:
        sharp, picture = sharp[:, ::-1], picture[:, ::-1]
    alpha = cv2.GaussianBlur(np.ascontiguousarray(sharp), (0, 0), settings.feather_px, borderType=cv2.BORDER_CONSTANT)
    x0, y0 = int(rng.integers(0, width - w + 1)), bottom - h
    place = np.s_[y0:bottom, x0 : x0 + w]
    around = image[place].astype(np.float32)
    inside = alpha >= 0.5
    if not inside.any():
        return
    gap = around.mean() - picture[inside].mean()
    blended = around + alpha[..., None] * (np.clip(picture + settings.match * gap, 0, 255) - around)
    image[place] = np.round(blended).astype(np.uint8)
    semantic[place][(alpha > 0.02) & ~inside] = VOID
    semantic[place][inside] = ANOMALY
    instances[place][alpha > 0.02] = 0
    instances[place][inside] = number
