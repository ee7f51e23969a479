# SPDX-License-Identifier: Apache-2.0
"""The pictures of a frame's result, each made when somebody first looks at it: zones and labels go out before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.perception.growth import NOTHING, Fine
from vl_anomaly_ros.perception.regions import Regions
from vl_anomaly_ros.perception.segmentation import extended_segmentation
from vl_anomaly_ros.perception.upsampling import upsampled
from vl_anomaly_ros.types import ByteArray, FloatArray, IntArray, Region


@dataclass(frozen=True)
class PicturesOnDemand:
    """`Pictures` of one image. What it is made from is the frame's own, so that it does not matter when one looks.

    Attributes:
        coarse_probability: (h, w) float32, calibrated probability at mask resolution.
        class_map: (h, w) int32, index of the most probable known class.
        found: the regions.
        named: the same regions with their labels.
        known_names: names of the known classes.
        fine: which added words pixels of regions are.
    """

    coarse_probability: FloatArray
    class_map: IntArray
    found: Regions
    named: tuple[Region, ...]
    known_names: tuple[str, ...]
    fine: Fine = NOTHING

    @cached_property
    def probability(self) -> FloatArray:
        """(H, W) float32 calibrated anomaly probability."""
        height, width = self.found.instances.shape
        return upsampled(self.coarse_probability, width, height)

    @property
    def mask(self) -> ByteArray:
        """(H, W) uint8, 255 anomaly, 0 not."""
        return self.found.mask

    @property
    def instances(self) -> npt.NDArray[np.uint16]:
        """(H, W) uint16 region ids, 0 none."""
        return self.found.instances

    @cached_property
    def segmentation(self) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
        """(H, W) class indices."""
        return extended_segmentation(self.class_map, self.found, self.named, self.known_names, self.fine)
