# SPDX-License-Identifier: Apache-2.0
"""What each idea of the methods is worth: one data set judged with terms of the score switched off, one after another.

The visual graph runs once a picture, the head once for each row of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vl_anomaly_ros.config import MethodConfig
from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.terms import Terms, terms_of
from vl_anomaly_ros.evaluation.examples import ExampleSet
from vl_anomaly_ros.evaluation.map_figures import defined, naming
from vl_anomaly_ros.evaluation.metrics import PixelFigures, PixelMetrics
from vl_anomaly_ros.evaluation.set_figures import hard_label
from vl_anomaly_ros.perception.upsampling import upsampled

_VL4AD = "vl4ad"
_CLIPOMALY = "clipomaly"

ABLATIONS: Mapping[str, MethodConfig] = {
    "detector only": MethodConfig(source_weights=(1.0, 0.0, 0.0)),
    "detector + pixel alignment": MethodConfig(source_weights=(1.0, 1.0, 0.0), text_pixel_weight=1.0),
    "detector + mask alignment": MethodConfig(source_weights=(1.0, 1.0, 0.0), text_pixel_weight=0.0),
    "detector + CLIP": MethodConfig(source_weights=(1.0, 0.0, 1.0)),
    "all three, equal weights": MethodConfig(source_weights=(1.0, 1.0, 1.0)),
    "all three, learned weights": MethodConfig(),
    "  without OOD prompts": MethodConfig(ood_prompts="off"),
    "  without merge groups": MethodConfig(merging=False),
    "  without maximum over prompts": MethodConfig(max_logit=False),
    "VL4AD": MethodConfig(name=_VL4AD),
    "  VL4AD without OOD prompts": MethodConfig(name=_VL4AD, ood_prompts="off"),
    "  VL4AD without merge groups": MethodConfig(name=_VL4AD, merging=False),
    "  VL4AD without maximum over prompts": MethodConfig(name=_VL4AD, max_logit=False),
    "  VL4AD with hand-written prompts": MethodConfig(name=_VL4AD, learned_prompts=False),
    "Clipomaly": MethodConfig(name=_CLIPOMALY),
    "  Clipomaly with OOD prompts": MethodConfig(name=_CLIPOMALY, ood_prompts="on"),
}
"""Rows of the table. Indented: the row above with one thing changed."""


@dataclass(frozen=True)
class Ablation:
    """One row.

    Attributes:
        name: of the row.
        method: the settings.
        pixel: figures over all labelled pixels; None where they are undefined.
        hard: the same with hard normal pixels as the only normal ones; None where the data set does not mark them.
    """

    name: str
    method: MethodConfig
    pixel: PixelFigures | None
    hard: PixelFigures | None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name.strip(),
            "method": asdict(self.method),
            "pixel": self.pixel and asdict(self.pixel),
            "hard_normal": self.hard and asdict(self.hard),
        }


def measure_ablations(
    engine: Engine, examples: ExampleSet, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> list[Ablation]:
    """Judge every picture by each row of `ABLATIONS`.

    Temperatures are those of the method's calibration, or of the default method's where it has none; they are not tuned
    for a row.

    Args:
        engine: with the vocabulary that is asked about.
        examples: the data set.
        progress: called with pictures done and their number.

    Raises:
        EvaluationError: a picture or label cannot be used.
        EngineError: the network failed.
    """
    terms = {name: _terms(config, engine.bundle) for name, config in ABLATIONS.items()}
    pixel, hard = ({name: PixelMetrics() for name in ABLATIONS} for _ in range(2))
    marked = False
    for done, example in enumerate(examples, 1):
        truth = example.truth()
        height, width = truth.label.shape
        scores = engine.run(example.image())
        for name in ABLATIONS:
            score = upsampled(engine.again(scores, terms[name]).score, width, height)
            with naming(example.name):
                pixel[name].update(score, truth.label)
            if truth.hard is not None:
                marked = True
                hard[name].update(score, hard_label(truth.label, truth.hard))
        progress(done, len(examples))
    return [
        Ablation(name, config, defined(pixel[name])[0], defined(hard[name])[0] if marked else None)
        for name, config in ABLATIONS.items()
    ]


def table(rows: list[Ablation]) -> list[str]:
    """For people."""
    lines = [f"{'':<38}{'AuPRC':>8}{'FPR95':>8}{'AuROC':>8}{'hard FPR95':>12}"]
    for row in rows:
        p = row.pixel
        pixel = f"{'none':>24}" if p is None else f"{p.auprc:8.4f}{p.fpr95:8.4f}{p.auroc:8.4f}"
        lines.append(f"{row.name:<38}{pixel}{'' if row.hard is None else f'{row.hard.fpr95:12.4f}'}")
    return lines


def _terms(config: MethodConfig, bundle: Bundle) -> Terms:
    return terms_of(config, bundle.calibrations.get(config.name, bundle.calibration))
