# SPDX-License-Identifier: Apache-2.0
"""Made-up shapes pasted into training pictures: CLIP then calls "unknown object" what resembles nothing it knows.

No category of the catalogue is shown by it, so the split that no network may see stays unseen.
"""

from __future__ import annotations

import numpy as np
import torch

from vl_anomaly_ros.evaluation.calibration_paste import PasteSettings, made_up, paste
from vl_anomaly_ros.training.data import Picture

PASTED = "unknown object"
_SETTINGS = PasteSettings()


def with_pasted(picture: Picture, mean_count: float, generator: torch.Generator) -> Picture:
    """Return the picture with a Poisson number of shapes pasted in; the picture given is not changed.

    Args:
        picture: what is pasted over is no longer in its truth.
        mean_count: of shapes; 0 returns the picture itself.
        generator: source of randomness.
    """
    if mean_count <= 0.0:
        return picture
    rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    count = int(rng.poisson(mean_count))
    if count == 0:
        return picture
    image, semantic, instances = picture.image.copy(), picture.semantic.copy(), picture.instances.copy()
    objects = dict(picture.objects)
    first = max(objects, default=0) + 1
    for number in range(first, first + count):
        paste(rng, image, semantic, instances, number, made_up(rng), _SETTINGS)
        ys, xs = np.nonzero(instances == number)
        if len(ys):
            box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
            objects[number] = {"category": PASTED, "known": False, "area_px": len(ys), "bbox": box}
    return picture._replace(image=image, semantic=semantic, instances=instances, objects=objects)
