# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly eval`: a bundle, saved score maps, or the geometry, measured against labelled data."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.console import Progress, say
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.terms import terms_of
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.ablations import measure_ablations, table
from vl_anomaly_ros.evaluation.benchmarks import BENCHMARKS, BenchmarkSet
from vl_anomaly_ros.evaluation.drive import judge_drive
from vl_anomaly_ros.evaluation.examples import ExampleSet, SimulatedSet
from vl_anomaly_ros.evaluation.judging import Judgement
from vl_anomaly_ros.evaluation.kitti import judge_kitti
from vl_anomaly_ros.evaluation.map_figures import judge_maps
from vl_anomaly_ros.evaluation.motion import measure_motion, motion_report
from vl_anomaly_ros.evaluation.score_maps import ScoreFolder
from vl_anomaly_ros.evaluation.set_figures import SetSettings, measure_set
from vl_anomaly_ros.evaluation.zones import report
from vl_anomaly_ros.options import add_setting_arguments, config_from
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.untrusted import plain

EPILOG = """examples:
  vl-anomaly eval --dataset road-anomaly-21 --root data/dataset_AnomalyTrack --out out/ra21 --bundle my_bundle
  vl-anomaly eval --dataset cityscapes --root data/cityscapes --vocabulary cityscapes.yaml --json
  vl-anomaly eval --dataset simulated --root out/test --out out/eval --method vl4ad --save-scores out/maps
  vl-anomaly eval --dataset simulated --root out/test --ablations
  vl-anomaly eval --scores out/maps --json
  vl-anomaly eval --dataset kitti-zones --root data/kitti --json

docs/evaluation.md explains the figures and the folders that are expected.
"""


class Report(NamedTuple):
    """What an evaluation found: for a script, and for a person."""

    figures: dict[str, Any]
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    choices = "; ".join(f"{name}: {entry.summary}" for name, entry in DATASETS.items())
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", choices=list(DATASETS), help=choices)
    source.add_argument("--scores", type=Path, metavar="DIR", help="saved maps *.npz of any method: score, label")
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder of the data set")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write figures.json and figures.txt into this folder")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object and nothing else")
    parser.add_argument(
        "--threshold", type=float, metavar="SCORE",
        help="of components and open world, inclusive; default: that of the best pixel F1",
    )  # fmt: skip
    parser.add_argument("--save-scores", type=Path, metavar="DIR", help="write the score maps, as --scores reads them")
    parser.add_argument("--sources", action="store_true", help="measure each source of the score alone as well")
    parser.add_argument("--ablations", action="store_true", help="a table of the score with terms switched off instead")
    parser.add_argument("--vocabulary", type=Path, metavar="FILE", help="instead of the bundle's")
    parser.add_argument(
        "--dictionary",
        type=Path,
        metavar="FILE",
        help="a vocabulary whose candidates are names as well, if it has others",
    )
    parser.add_argument("--threads", type=int, default=2, help="for ONNX Runtime (default: 2)")
    add_setting_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print, and write. Returns 0; errors are raised."""
    if args.scores is None and args.root is None:
        raise EvaluationError(f"--dataset {args.dataset}: expected --root DIR, the folder of the data set, got none")
    report = _saved_maps(args) if args.scores is not None else DATASETS[args.dataset].measure(args)
    as_json = json.dumps(report.figures, indent=2, allow_nan=False)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "figures.json").write_text(as_json + "\n", encoding="utf-8")
        (args.out / "figures.txt").write_text(report.text + "\n", encoding="utf-8")
    say(as_json if args.json else report.text)
    return 0


def _saved_maps(args: argparse.Namespace) -> Report:
    figures = judge_maps(ScoreFolder(args.scores), args.threshold)
    title = f"{figures.images} score maps of {plain(str(args.scores))}"
    return Report({"scores": str(args.scores), **figures.plain()}, "\n".join([title, *figures.lines()]))


def _benchmark(args: argparse.Namespace) -> Report:
    return _labelled(args, BenchmarkSet(BENCHMARKS[args.dataset], args.root), args.sources)


def _simulated(args: argparse.Namespace) -> Report:
    return _labelled(args, SimulatedSet(args.root), sources=True)


def _labelled(args: argparse.Namespace, examples: ExampleSet, sources: bool) -> Report:
    if args.save_scores is not None:
        args.save_scores.mkdir(parents=True, exist_ok=True)
    config = with_values(config_from(args), {"engine.threads": args.threads})
    engine = _engine(config, args.vocabulary, args.dictionary)
    if args.ablations:
        return _ablations(args, engine, examples)
    bundle, vocabulary = engine.bundle, engine.lexicon.vocabulary
    calibration = bundle.calibrations.get(config.method.name)
    terms = terms_of(config.method, calibration or bundle.calibration)
    with Progress("pictures", quiet=args.json) as progress:
        settings = SetSettings(args.threshold, calibration, sources, args.save_scores, progress=progress.update)
        found = measure_set(engine, terms, examples, settings, config.naming)
    engine.close()
    figures = {
        "dataset": args.dataset,
        "bundle": bundle.name,
        "bundle_sha256": bundle.sha256,
        "method": asdict(config.method),
        "vocabulary": vocabulary.name,
        "candidates": len(vocabulary.candidates),
        "threads": args.threads,
        **found.plain(),
    }
    title = f"{bundle.name}, {config.method.name}, on {found.maps.images} pictures of {args.dataset}"
    return Report(figures, "\n".join([title, *found.lines()]))


def _ablations(args: argparse.Namespace, engine: Engine, examples: ExampleSet) -> Report:
    with Progress("pictures", quiet=args.json) as progress:
        rows = measure_ablations(engine, examples, progress.update)
    engine.close()
    figures = {
        "dataset": args.dataset,
        "bundle": engine.bundle.name,
        "bundle_sha256": engine.bundle.sha256,
        "images": len(examples),
        "ablations": [row.plain() for row in rows],
    }
    title = f"{engine.bundle.name} on {len(examples)} pictures of {args.dataset}"
    return Report(figures, "\n".join([title, *table(rows)]))


def _engine(config: Config, vocabulary: Path | None, dictionary: Path | None) -> Engine:
    """What is measured."""
    engine = Engine.from_config(config.engine)
    words = engine.lexicon.vocabulary if vocabulary is None else Vocabulary.from_file(vocabulary)
    if dictionary is not None:
        more = (word for word in Vocabulary.from_file(dictionary).candidates if not words.approves(word))
        words = replace(words, candidates=tuple(dict.fromkeys((*words.candidates, *more))))
    if words is not engine.lexicon.vocabulary:
        engine.set_vocabulary(words)
    return engine


def _kitti_zones(args: argparse.Namespace) -> Report:
    return _zones_report(judge_kitti(args.root))


def _drive_zones(args: argparse.Namespace) -> Report:
    return _zones_report(judge_drive(args.root))


def _zones_report(judged: list[Judgement]) -> Report:
    rows = [_finite({**asdict(j), "status": j.status.name, "good": j.good}) for j in judged]
    return Report({"zones": rows}, report(judged))


def _drive_motion(args: argparse.Namespace) -> Report:
    placements = measure_motion(args.root)
    return Report({"zones": [_finite(asdict(one)) for one in placements]}, motion_report(placements))


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no number for what a zone of unknown place gives.

    >>> _finite({"status": "UNKNOWN", "shift_m": math.nan})
    {'status': 'UNKNOWN', 'shift_m': None}
    """
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}


class Dataset(NamedTuple):
    """A kind of data set and how it is measured."""

    summary: str
    measure: Callable[[argparse.Namespace], Report]


DATASETS = {
    **{name: Dataset(one.name, _benchmark) for name, one in BENCHMARKS.items()},
    "simulated": Dataset("images of `simulate images`", _simulated),
    "kitti-zones": Dataset("hazard zones on labelled KITTI frames", _kitti_zones),
    "drive-zones": Dataset("hazard zones on a drive of `simulate drive --truth-masks`", _drive_zones),
    "drive-motion": Dataset("ego motion on a drive of `simulate drive --rolling --truth-masks`", _drive_motion),
}
