# SPDX-License-Identifier: Apache-2.0
"""Score maps of a data set from the engine: each picture goes through the network once, as on the vehicle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.engine.engine import Scores
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.examples import Example, ExampleSet, Truth
from vl_anomaly_ros.evaluation.score_maps import ScoreMapFile, write_map
from vl_anomaly_ros.perception.areas import cell_of
from vl_anomaly_ros.perception.upsampling import upsampled
from vl_anomaly_ros.types import ByteArray, FloatArray, IntArray

_SHAPE_TOLERANCE = 0.02


@dataclass(frozen=True)
class JudgedPicture:
    """A picture with its truth and what the engine says of it, at the size of the label.

    Attributes:
        name: of the picture.
        truth: (H, W).
        score: (H, W) float32, fused score before calibration.
        class_map: (H, W) most probable known class.
    """

    name: str
    truth: Truth
    score: FloatArray
    class_map: IntArray


class EngineMaps:
    """The pictures of a data set, judged. The first pass runs the network; later ones read what it said.

    What the network says is kept at mask resolution, and brought to the label's size as the live pictures are: linear
    between the cells. Void counts nothing, so it does not matter what is said there.

    Args:
        run: the engine, from an RGB picture of any size.
        examples: the data set.
        folder: an empty one, for what the network said.
        observe: called with every picture as the network has judged it, during the first pass.
        save: folder that the score maps are written into as well; None: none.
    """

    def __init__(
        self,
        run: Callable[[ByteArray], Scores],
        examples: ExampleSet,
        folder: Path,
        observe: Callable[[Truth, Scores], None],
        save: Path | None = None,
    ) -> None:
        self._run, self._examples, self._folder, self._observe, self._save = run, examples, folder, observe, save
        self.engine_ms: list[float] = []

    def __iter__(self) -> Iterator[ScoreMapFile]:
        for picture in self.pictures():
            yield ScoreMapFile(picture.name, picture.score, picture.truth.label)

    def pictures(self) -> Iterator[JudgedPicture]:
        """Everything of each picture.

        Raises:
            EvaluationError: a picture or label cannot be read, or they are of different shapes.
            EngineError: the network failed.
        """
        for index, example in enumerate(self._examples):
            kept = self._folder / f"{index}.npz"
            truth = example.truth()
            first = not kept.exists()
            if first:
                self._judge(example, truth, kept)
            with np.load(kept, allow_pickle=False) as cells:
                score, class_map = cells["score"], cells["class_map"]
            height, width = truth.label.shape
            picture = JudgedPicture(
                example.name, truth, upsampled(score, width, height), spread(class_map, width, height)
            )
            if first and self._save is not None:
                write_map(self._save / f"{example.name}.npz", picture.score, truth.label)
            yield picture

    def _judge(self, example: Example, truth: Truth, kept: Path) -> None:
        image = example.image()
        (height, width), (tall, wide) = image.shape[:2], truth.label.shape
        if abs(width * tall / (height * wide) - 1) > _SHAPE_TOLERANCE:
            raise EvaluationError(
                f"{example.name}: expected a picture and a label of one shape, got {width}x{height} and {wide}x{tall}; "
                "use both as published"
            )
        began = time.perf_counter()
        scores = self._run(image)
        self.engine_ms.append(1e3 * (time.perf_counter() - began))
        self._observe(truth, scores)
        np.savez(kept, score=scores.score, class_map=scores.class_map)


def spread(cells: npt.NDArray[np.int32], width: int, height: int) -> IntArray:
    """(height, width) of (h, w): each pixel as the cell that holds its centre, as in the live segmentation."""
    return cells.take(cell_of(width, cells.shape[1]), axis=1).take(cell_of(height, cells.shape[0]), axis=0)
