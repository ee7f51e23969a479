# SPDX-License-Identifier: Apache-2.0
"""Pictures of normal scenes, with or without labels, at the network's size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.preprocess import Letterbox
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.image_set import VOID, ImageSet, LabelledImage

_ENDINGS = (".png", ".jpg", ".jpeg")


class NormalPictures:
    """Every PNG and JPEG picture of a folder, taken to show nothing anomalous; iterates in the order of their names.

    Args:
        root: the folder; those in it count too.
        bundle: says the network's size, into which pictures are fitted as live; what they do not fill is void.

    Raises:
        EvaluationError: there is no picture.
    """

    def __init__(self, root: Path, bundle: Bundle) -> None:
        self._paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in _ENDINGS)
        self._bundle = bundle
        if not self._paths:
            raise EvaluationError(
                f"{root}: expected pictures ({', '.join(_ENDINGS)}), found none; name a folder of normal pictures"
            )

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[LabelledImage]:
        width, height = self._bundle.input_width, self._bundle.input_height
        red, green, blue = (255 * value for value in self._bundle.mean)
        for index, path in enumerate(self._paths):
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if picture is None:
                raise EvaluationError(f"{path}: expected a picture, it cannot be read; leave it out")
            place = Letterbox.fit(picture.shape[1], picture.shape[0], width, height)
            image = place.apply(np.ascontiguousarray(picture[..., ::-1]), (red, green, blue))[0]
            semantic = np.full((height, width), VOID, np.uint8)
            semantic[place.y0 : place.y0 + place.height, place.x0 : place.x0 + place.width] = 0
            yield LabelledImage(index, image, semantic, np.zeros((height, width), np.uint16), ())


def normal_images(root: Path, bundle: Bundle) -> ImageSet | NormalPictures:
    """The normal images of a folder: a labelled set where it is one, else plain pictures."""
    return ImageSet(root) if (root / "dataset.yaml").is_file() else NormalPictures(root, bundle)
