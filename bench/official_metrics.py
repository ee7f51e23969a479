# SPDX-License-Identifier: Apache-2.0
"""The metric code of SegmentMeIfYouCan's benchmark, loaded from a checkout that the user names; nothing of it is kept.

Only its two metric modules run. What they import for plots, tables and files is not needed here, and replaced where
it is not installed; names that newer NumPy and SciPy have given up are given back. Nothing of the calculation differs.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock
from unittest.mock import MagicMock

import numpy as np
import scipy.ndimage

PACKAGE = "road_anomaly_benchmark"
_OPTIONAL = ("easydict", "h5py", "matplotlib", "matplotlib.cm", "matplotlib.pyplot", "pandas")
_BESIDE = ("evaluation", "datasets", "datasets.dataset_io", "jupyter_show_image", "metrics.base")

Images = Sequence[tuple[Any, Any]]
"""Scores and labels of each image."""


class _EasyDict(dict[str, Any]):
    """A dict whose keys are attributes as well."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


class _Metric:
    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg


class OfficialMetrics:
    """Pixel and component metrics as the benchmark's own code says.

    Args:
        checkout: folder that holds `road_anomaly_benchmark/`.

    Raises:
        FileNotFoundError: it holds none.
    """

    def __init__(self, checkout: Path) -> None:
        if not (checkout / PACKAGE / "metrics" / "instance_segmentation.py").is_file():
            raise FileNotFoundError(f"{checkout}: expected a checkout with {PACKAGE}/metrics/instance_segmentation.py")
        with mock.patch.dict(sys.modules):  # others must not find what stands in for what is not installed
            _prepare(checkout)
            self._pixels = importlib.import_module(f"{PACKAGE}.metrics.pixel_classification").MetricPixelClassification
            self._segments = importlib.import_module(f"{PACKAGE}.metrics.instance_segmentation").MetricSegment

    def pixels(self, images: Images) -> Any:
        """Its result for all pixels, with its 768 bins an image."""
        return self._run(self._pixels(_config(self._pixels, "PixBinaryClass")), images)

    def components(self, track: str, threshold: float, images: Images) -> Any:
        """Its result for the components of a track; scores above `threshold` are predicted."""
        metric = self._segments(_config(self._segments, f"SegEval-{track}"))
        metric.cfg.thresh_p = threshold
        return self._run(metric, images)

    @staticmethod
    def _run(metric: Any, images: Images) -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            frames = [metric.process_frame(label_pixel_gt=y, anomaly_p=s, visualize=False) for s, y in images]
            return metric.aggregate(frames, "method", "dataset")


def _config(metric: Any, name: str) -> Any:
    return next(config for config in metric.configs if config.name == name)


def _prepare(checkout: Path) -> None:
    for name in _OPTIONAL:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
        sys.modules.setdefault(name, MagicMock(name=name))
    if isinstance(sys.modules["easydict"], MagicMock):
        sys.modules["easydict"].EasyDict = _EasyDict
    for name, path in ((PACKAGE, checkout / PACKAGE), (f"{PACKAGE}.metrics", checkout / PACKAGE / "metrics")):
        package = ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package
    for name in _BESIDE:
        sys.modules[f"{PACKAGE}.{name}"] = MagicMock(name=name)
    base: Any = sys.modules[f"{PACKAGE}.metrics.base"]
    base.EvaluationMetric = _Metric
    base.MetricRegistry.register_class = lambda: lambda metric: metric
    if not hasattr(np, "trapz"):
        setattr(np, "trapz", np.trapezoid)  # noqa: B010  (the old name, for others' code)
    sys.modules["scipy.ndimage.measurements"] = scipy.ndimage
