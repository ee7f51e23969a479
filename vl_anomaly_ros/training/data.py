# SPDX-License-Identifier: Apache-2.0
"""Simulated image sets in memory, random windows of them, and photometric augmentation.

A window is a crop, moved, scaled and mirrored at random; what it holds is decided by the generator alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the name everyone knows)

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.evaluation.image_set import VOID
from vl_anomaly_ros.evaluation.image_set import ImageSet as FolderImageSet
from vl_anomaly_ros.training.config import PhaseConfig


@dataclass(frozen=True)
class ImageSet:
    """Images and truth of a set, all of one size.

    images: (N, H, W, 3) uint8 RGB; semantic: (N, H, W) uint8; instances: (N, H, W) uint16;
    objects: per image, instance id -> record.
    """

    classes: list[str]
    images: npt.NDArray[np.uint8]
    semantic: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint16]
    objects: list[dict[int, dict[str, Any]]]

    def __len__(self) -> int:
        return len(self.images)

    def picture(self, index: int) -> Picture:
        """One image with its truth."""
        return Picture(
            self.classes, self.images[index], self.semantic[index], self.instances[index], self.objects[index]
        )

    def split(self, held_out: int) -> tuple[ImageSet, ImageSet]:
        """Return all but the last images, and the last ones.

        Raises:
            TrainingError: none would be left to train on.
        """
        left = left_to_train(len(self), held_out)
        first, last = (
            ImageSet(self.classes, self.images[part], self.semantic[part], self.instances[part], self.objects[part])
            for part in (slice(0, left), slice(left, None))
        )
        return first, last


def load_image_set(folder: Path, limit: int | None = None) -> ImageSet:
    """Read a set into memory.

    Raises:
        EvaluationError: a part of the set is missing or damaged.
    """
    source = FolderImageSet(folder)
    items = list(islice(source, limit))
    return ImageSet(
        classes=[str(name) for name in source.description["classes"]],
        images=np.stack([item.image for item in items]),
        semantic=np.stack([item.semantic for item in items]),
        instances=np.stack([item.instances for item in items]),
        objects=[{int(record["instance"]): record for record in item.objects} for item in items],
    )


def left_to_train(total: int, held_out: int) -> int:
    """Return how many of a set's pictures are not held out.

    Raises:
        TrainingError: none.
    """
    if held_out >= total:
        raise TrainingError(f"validation_images: expected fewer than the {total} of the set, got {held_out}")
    return total - held_out


class Picture(NamedTuple):
    """One image of a set, with its truth; arrays as in `ImageSet`, without the first axis."""

    classes: list[str]
    image: npt.NDArray[np.uint8]
    semantic: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint16]
    objects: dict[int, dict[str, Any]]


class Pictures(Protocol):
    """A set of pictures."""

    def __len__(self) -> int:
        """How many."""

    def picture(self, index: int) -> Picture:
        """One of them."""


def draw_picture(pictures: Pictures, generator: torch.Generator) -> Picture:
    """Draw a picture of the set."""
    return pictures.picture(int(torch.rand((), generator=generator) * len(pictures)))


MIN_AREA_PX = 24  # smaller objects are not worth a window of their own


class Window(NamedTuple):
    """A crop, resampled."""

    image: npt.NDArray[np.uint8]  # (h, w, 3)
    semantic: npt.NDArray[np.uint8]  # (h, w)
    instances: npt.NDArray[np.int32]  # (h, w)


def cut_window(
    picture: Picture, centre: tuple[float, float], scale: float, size: tuple[int, int], flip: bool
) -> Window:
    """Cut a window of `size` (h, w) around `centre` (y, x; pixels) at `scale` crop pixels per image pixel.

    What lies outside the image is filled with the window's mean colour and labelled void.
    """
    height, width = size
    matrix = np.array([[scale, 0.0, width / 2 - scale * centre[1]], [0.0, scale, height / 2 - scale * centre[0]]])
    if flip:
        matrix = np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]]) @ np.vstack([matrix, [0.0, 0.0, 1.0]])
    source = picture.image
    mean = tuple(float(v) for v in source[::16, ::16].mean((0, 1)))
    image = cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=mean)
    nearest = {"flags": cv2.INTER_NEAREST}
    semantic = cv2.warpAffine(picture.semantic, matrix, (width, height), **nearest, borderValue=(float(VOID),))
    instances = cv2.warpAffine(
        picture.instances.astype(np.float32), matrix, (width, height), **nearest, borderValue=(0.0,)
    )
    return Window(
        image.astype(np.uint8, copy=False),
        semantic.astype(np.uint8, copy=False),
        instances.astype(np.int32),
    )


def random_window(
    picture: Picture, phase: PhaseConfig, generator: torch.Generator, about_objects: float = 0.0
) -> Window:
    """Draw a window of a picture; with probability `about_objects` near one of its objects.

    Where an image holds anomalies, half of these looks go to one of them.
    """
    u = torch.rand(7, generator=generator).tolist()
    scale = phase.scale_min * (phase.scale_max / phase.scale_min) ** u[0]
    size = (phase.crop_height_px, phase.crop_width_px)
    height, width = picture.semantic.shape
    half_y, half_x = size[0] / 2 / scale, size[1] / 2 / scale
    objects = [item for item in picture.objects.values() if item["area_px"] >= MIN_AREA_PX]
    anomalies = [item for item in objects if not item["known"]]
    if objects and u[1] < about_objects:
        looked_at = anomalies if anomalies and u[2] < 0.5 else objects
        item = looked_at[int(u[3] * len(looked_at))]
        x0, y0, x1, y1 = (float(v) for v in item["bbox"])
        centre = ((y0 + y1) / 2 + (u[4] - 0.5) * half_y, (x0 + x1) / 2 + (u[5] - 0.5) * half_x)
    else:
        centre = (u[4] * height, u[5] * width)
    centre = (_inside(centre[0], half_y, height), _inside(centre[1], half_x, width))
    return cut_window(picture, centre, scale, size, flip=u[6] < 0.5)


def _inside(value: float, half: float, length: int) -> float:
    """Keep the window inside the image, or centred where it is larger."""
    if 2 * half >= length:
        return length / 2
    return min(max(value, half), length - half)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Vary looks: exposure, contrast, colour cast, saturation, uneven light, blur and noise.

    Args:
        images: [B, 3, H, W] float in 0..1.
        generator: source of randomness.

    Returns:
        the same shape, in 0..1.
    """
    batch, _, height, width = images.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) * (high - low) + low

    x = images.clamp(1e-3, 1.0) ** torch.exp(uniform(-0.45, 0.45, batch, 1, 1, 1))
    x = x * torch.exp(uniform(-0.15, 0.15, batch, 3, 1, 1))
    light = F.interpolate(uniform(0.75, 1.25, batch, 1, 3, 5), (height, width), mode="bilinear")
    x = x * light * uniform(0.7, 1.3, batch, 1, 1, 1)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * uniform(0.4, 1.5, batch, 1, 1, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * uniform(0.7, 1.35, batch, 1, 1, 1)
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = torch.where(uniform(0, 1, batch, 1, 1, 1) < 0.25, blurred, x)
    noise = torch.randn(x.shape, generator=generator) * uniform(0.0, 0.03, batch, 1, 1, 1)
    return (x + noise).clamp(0.0, 1.0)


def to_tensor(windows: list[Window]) -> Tensor:
    """Stack windows to [B, 3, h, w] float in 0..1."""
    stacked = torch.from_numpy(np.stack([w.image for w in windows]))
    return stacked.permute(0, 3, 1, 2).float().div_(255.0)


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Apply the bundle's mean and standard deviation; channels last, which convolutions like here."""
    shift, scale = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (mean, std))
    x = (images - shift) / scale
    return x.to(memory_format=torch.channels_last)
