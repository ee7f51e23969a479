# SPDX-License-Identifier: Apache-2.0
"""The stages of a run, each resumable: data, CLIP, segmenter with PL-Aligner, bundle, calibration, figures."""

from __future__ import annotations

import dataclasses
import logging
import platform
from pathlib import Path
from typing import Any

import torch
import yaml
from open_clip.model import CLIP
from tokenizers import Tokenizer
from torch import Tensor

from vl_anomaly_ros.config import MethodConfig
from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.engine.terms import terms_of
from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.evaluation.anomaly import BundleRunner
from vl_anomaly_ros.evaluation.calibration import CalibrationSettings, calibrate
from vl_anomaly_ros.evaluation.calibration_budget import BudgetSettings
from vl_anomaly_ros.evaluation.examples import SimulatedSet
from vl_anomaly_ros.evaluation.image_set import ImageSet as FolderImageSet
from vl_anomaly_ros.evaluation.seal import seal, write_yaml
from vl_anomaly_ros.evaluation.set_figures import SetFigures, SetSettings, measure_set
from vl_anomaly_ros.model.aligner import PLAligner
from vl_anomaly_ros.model.clip import build_clip
from vl_anomaly_ros.model.segmenter import Segmenter
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.training import captions
from vl_anomaly_ros.training.clip_task import ClipTask, categories_of
from vl_anomaly_ros.training.config import ImageSetConfig, TrainingConfig, to_mapping
from vl_anomaly_ros.training.data import load_image_set, normalise
from vl_anomaly_ros.training.device import device_of
from vl_anomaly_ros.training.export import export_bundle
from vl_anomaly_ros.training.loop import load_average, run_phase
from vl_anomaly_ros.training.parallel import rank, run_together
from vl_anomaly_ros.training.recover import measure_norms, recover
from vl_anomaly_ros.training.segment_task import SegmentTask, build_aligner
from vl_anomaly_ros.training.tokenizer import train_tokenizer
from vl_anomaly_ros.training.vocabulary import make_vocabulary

log = logging.getLogger(__name__)

START = "start.pt"
_NORM_PICTURES = 12  # of each set, to give recovered batch normalisations their statistics


class Run:
    """A training run in a folder.

    Args:
        config: resolved configuration.
        folder: checkpoints, metrics, data and the resolved configuration live here.
        data: where the image sets are (their paths in the configuration are relative to it).
    """

    def __init__(self, config: TrainingConfig, folder: Path, data: Path | None = None) -> None:
        self.config = config
        self.folder = folder
        self.data = data or folder
        folder.mkdir(parents=True, exist_ok=True)
        self._record_config()
        torch.manual_seed(config.seed)
        self.tokenizer = self._tokenizer()

    def train(self) -> None:
        """Train every phase that is not finished, in as many processes as configured."""
        for source in (self.config.data.clip, self.config.data.segment):
            self.image_set(source)
        self._recover()
        # On a GPU one process does; on the CPU processes of one thread each are faster than threads.
        processes = self.config.processes if device_of(self.config.device).type == "cpu" else 1
        run_together(_train, processes, self.config, self.folder, self.data)

    def train_clip(self) -> None:
        """Pre-train CLIP on the set with anomalies of the split that it may see."""
        images = load_image_set(self.image_set(self.config.data.clip))
        categories = categories_of(images)
        taught = sorted(name for name, known in categories.items() if not known)
        if rank() == 0:
            write_yaml(self.folder / "taught.yaml", {"classes": images.classes, "taught": taught})
        if not self.config.clip_phase.steps:
            return
        torch.manual_seed(self.config.seed)
        clip = build_clip(self.config.clip, self.tokenizer.get_vocab_size())
        self._start("clip", clip)
        task = ClipTask(
            "clip", clip.to(memory_format=torch.channels_last), self.tokenizer, images, self.config,
            self.config.clip_phase, false_words=self._false_words(),
        )  # fmt: skip
        run_phase(task, self.config.clip_phase, self.folder, self.config.seed)

    def refine_clip(self) -> None:
        """Go on with CLIP's image tower alone, on windows as the camera sees them; the text tower is locked.

        What the segmenter was aligned with does not change, so this may come last.
        """
        images = load_image_set(self.image_set(self.config.data.clip))
        clip = self.load_clip(refined=False).to(memory_format=torch.channels_last)
        for index, phase in enumerate(self.config.clip_refinements):
            task = ClipTask(
                f"clip-refined-{index}", clip, self.tokenizer, images, self.config, phase, text_locked=True,
                false_words=self._false_words(),
            )  # fmt: skip
            average = run_phase(task, phase, self.folder, self.config.seed + 1 + index)
            clip.load_state_dict(average)

    def train_segmenter(self) -> None:
        """Train segmenter and PL-Aligner on known classes, phase after phase."""
        clip = self.load_clip(refined=False)
        images = load_image_set(self.image_set(self.config.data.segment))
        torch.manual_seed(self.config.seed + 1)
        segmenter = Segmenter(self.config.segmenter, len(images.classes)).to(memory_format=torch.channels_last)
        aligner = build_aligner(clip, self.tokenizer, self.config)
        self._start("segmenter", segmenter)
        self._start("aligner", aligner)
        negatives = list(make_vocabulary(images.classes, self._meta()["taught"])["ood_prompts"])
        for index, phase in enumerate(self.config.segment_phases):
            task = SegmentTask(
                f"segment-{index}", segmenter, aligner, clip, self.tokenizer, images, negatives,
                self.config, phase,
            )  # fmt: skip
            average = run_phase(task, phase, self.folder, self.config.seed + 10 + index)
            task.module.load_state_dict(average)

    def export(self, bundle: Path) -> None:
        """Write a bundle from the newest checkpoints."""
        clip = self.load_clip()
        segmenter, aligner, steps = self.load_segmenter(clip)
        meta = self._meta()
        export_bundle(
            bundle, self.config, clip, self.tokenizer, segmenter, aligner, meta["classes"], meta["taught"],
            provenance=self._provenance(steps),
        )  # fmt: skip
        write_yaml(bundle / "training.yaml", to_mapping(self.config))

    def calibrate(self, bundle: Path) -> None:
        """Replace the bundle's calibration by one learned on the calibration set."""
        source = self.config.data.calibration
        images = FolderImageSet(self.image_set(source))
        runner = BundleRunner(load_bundle(bundle), self.config.processes)
        settings = CalibrationSettings(budget=BudgetSettings(self.config.bundle.false_regions))
        found = calibrate(runner, images, settings, describe(source), _every(25, "calibration", len(images)))
        seal(bundle, calibration=found)

    def evaluate(self, bundle: Path) -> SetFigures:
        """Measure the bundle on the test set and write the figures into it."""
        source = self.config.data.test
        loaded = load_bundle(bundle)
        engine = Engine(loaded, OnnxRuntimeBackend(loaded, self.config.processes))
        settings = SetSettings(calibration=loaded.calibration, sources=True)
        terms = terms_of(MethodConfig(), loaded.calibration)
        result = measure_set(engine, terms, SimulatedSet(self.image_set(source)), settings)
        engine.close()
        seal(bundle, figures=figures(result, describe(source)))
        return result

    def image_set(self, source: ImageSetConfig) -> Path:
        """Return the folder of a set, made now if it is absent."""
        path = self.data / source.path
        if not (path / "dataset.yaml").exists():
            from vl_anomaly_ros.simulation.images import generate_images

            log.info("making %d images in %s", source.count, path)
            generate_images(
                path, count=source.count, seed=source.seed, anomalies=source.anomalies,
                anomaly_density=source.density, views_per_scene=source.views_per_scene,
                width=self.config.bundle.width_px, height=self.config.bundle.height_px,
                workers=self.config.processes, world=source.world, looks=source.looks, styles=source.styles,
            )  # fmt: skip
        return path

    def load_clip(self, *, refined: bool = True) -> CLIP:
        """Return CLIP with the averaged weights of its newest phase, or of its first without refinement.

        Refined weights are drawn back towards those that the run started from by `start_share`: in between lies a
        network that is no worse on what was learned before, and better on what is new.
        Source: Wortsman et al., "Robust fine-tuning of zero-shot models" (arXiv 2109.01903).
        """
        clip = build_clip(self.config.clip, self.tokenizer.get_vocab_size())
        phases = [f"clip-refined-{index}" for index in reversed(range(len(self.config.clip_refinements)))]
        paths = [self.folder / f"{name}.pt" for name in ([*phases, "clip"] if refined else ["clip"])]
        path = next((path for path in paths if path.exists()), None)
        if path:
            clip.load_state_dict(self._drawn_back(load_average(path)) if refined else load_average(path))
        elif not self._start("clip", clip):
            raise TrainingError(f"{self.folder}: no checkpoint of CLIP; train it first")
        return clip.eval()

    def _drawn_back(self, trained: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        share = self.config.start_share
        if not share:
            return trained
        begun = torch.load(self.folder / START, map_location="cpu", weights_only=True)["clip"]
        return {
            name: value.lerp(begun[name], share) if value.is_floating_point() else value
            for name, value in trained.items()
        }

    def load_segmenter(self, clip: CLIP) -> tuple[Segmenter, PLAligner, str]:
        """Return segmenter and aligner of the newest phase, and which it was.

        Raises:
            TrainingError: no phase has a checkpoint yet.
        """
        segmenter = Segmenter(self.config.segmenter, len(self._meta()["classes"]))
        aligner = build_aligner(clip, self.tokenizer, self.config)
        both = torch.nn.ModuleDict({"segmenter": segmenter, "aligner": aligner})
        for index in reversed(range(len(self.config.segment_phases))):
            path = self.folder / f"segment-{index}.pt"
            if path.exists():
                state: dict[str, Tensor] = load_average(path)
                both.load_state_dict(state)
                return segmenter.eval(), aligner.eval(), path.stem
        if self._start("segmenter", segmenter) and self._start("aligner", aligner):
            return segmenter.eval(), aligner.eval(), "as in the bundle"
        raise TrainingError(f"{self.folder}: no checkpoint of the segmenter; train it first")

    def _beginning(self) -> str:
        if not self.config.start:
            return "Trained from scratch"
        bundle = load_bundle(self.config.start)
        return f"Trained on from {bundle.name} {bundle.version}"

    def _false_words(self) -> list[str]:
        """Candidates of the configured vocabulary, without the names of what no network may see."""
        if not self.config.loss.false_words:
            return []
        words = Vocabulary.from_file(Path(self.config.loss.false_words)).candidates
        description = FolderImageSet(self.image_set(self.config.data.clip)).description
        unseen = description.get("splits", {}).get("unseen", [])
        left_out = {word for name in unseen for word in (name, *captions.SYNONYMS.get(name, ()))}
        return [word for word in words if word not in left_out]

    def _recover(self) -> None:
        """Take the weights that training starts from out of the configured bundle, once."""
        path = self.folder / START
        if not self.config.start or path.exists():
            return
        clip, segmenter, aligner = recover(Path(self.config.start), self.config)
        settings = self.config.bundle
        pictures = [
            torch.from_numpy(load_image_set(self.image_set(source), _NORM_PICTURES).images)
            for source in (self.config.data.clip, self.config.data.segment)
        ]
        batch = normalise(torch.cat(pictures).permute(0, 3, 1, 2).float() / 255.0, settings.mean, settings.std)
        measure_norms(clip.visual, lambda: clip.visual.trunk.forward_features(batch))
        measure_norms(segmenter, lambda: segmenter(batch))
        parts = {"clip": clip, "segmenter": segmenter, "aligner": aligner}
        torch.save({name: part.state_dict() for name, part in parts.items()}, path)

    def _start(self, part: str, module: torch.nn.Module) -> bool:
        """Load what was recovered into a part; returns whether there was anything."""
        path = self.folder / START
        if path.exists():
            module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)[part])
        return path.exists()

    def _meta(self) -> dict[str, Any]:
        path = self.folder / "taught.yaml"
        if not path.exists():
            raise TrainingError(f"{path} is missing; train CLIP first")
        return dict(yaml.safe_load(path.read_text(encoding="utf-8")))

    def _tokenizer(self) -> Tokenizer:
        path = self.folder / "tokenizer.json"
        if not path.exists():
            if self.config.start:
                tokenizer = Tokenizer.from_file(str(Path(self.config.start) / "tokenizer.json"))
            else:
                contexts = self.config.bundle.learned_contexts
                tokenizer = train_tokenizer(captions.corpus(), self.config.clip.context_length, contexts)
            tokenizer.save(str(path))
        return Tokenizer.from_file(str(path))

    def _record_config(self) -> None:
        """Write the resolved configuration beside the weights; another one may not reuse the folder."""
        path = self.folder / "config.yaml"
        values = to_mapping(self.config)
        if path.exists() and yaml.safe_load(path.read_text(encoding="utf-8")) != values:
            raise TrainingError(
                f"{path} holds another configuration than the one given; use another --out, or delete that folder"
            )
        if not path.exists():
            write_yaml(path, values)

    def _provenance(self, phase: str) -> str:
        sets = self.config.data
        # Read, not through `image_set`: an export without the images must not make them.
        path = self.data / sets.clip.path / "dataset.yaml"
        description = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
        world = description.get("version", "not stated")
        return (
            f"{self._beginning()} on simulated images only ({self.config.data.clip.world} world version {world}, seed "
            f"{self.config.seed}, torch {torch.__version__}, {platform.machine()}). CLIP: {describe(sets.clip)}. "
            f"Segmenter and PL-Aligner ({phase}): "
            f"{describe(sets.segment)}. Knows the simulated world, not the real one."
        )


def _train(config: TrainingConfig, folder: Path, data: Path) -> None:
    """Train in one of the processes."""
    logging.basicConfig(level=logging.INFO if rank() == 0 else logging.WARNING, format="%(message)s")
    run = Run(config, folder, data)
    run.train_clip()
    run.train_segmenter()
    run.refine_clip()


def describe(source: ImageSetConfig) -> str:
    """Return a set in words."""
    kind = "known classes only" if source.anomalies == "none" else f"anomalies of split '{source.anomalies}'"
    world = "" if source.world == "standard" else f" of the {source.world} world"
    return f"{source.count} simulated images{world} of seed {source.seed}, {kind}"


def figures(result: SetFigures, test_set: str) -> dict[str, Any]:
    """Return what bundle.yaml records of an evaluation; what is undefined is None."""
    found = result.plain()
    names = found["naming"]

    def rounded(values: dict[str, Any], *keys: str) -> dict[str, Any]:
        return {key: None if values.get(key) is None else round(float(values[key]), 5) for key in keys}

    return {
        "test_set": test_set,
        **rounded(found, "auprc", "fpr95", "auroc", "f1_max", "anomaly_share", "ece"),
        "sources": {name: rounded(one, "auprc", "fpr95", "auroc") for name, one in found["sources"].items()},
        **rounded(found, "known_miou", "open_world_miou"),
        "names_right": None if names["exact"] is None else round(names["exact"], 4),
        "named_regions": names["regions"],
    }


def shortened(config: TrainingConfig, steps: int) -> TrainingConfig:
    """Return the configuration with every phase cut to a few steps, to try the machinery."""

    def cut(phase: Any) -> Any:
        return dataclasses.replace(phase, steps=steps, warmup_steps=1, checkpoint_every=steps, log_every=1)

    return dataclasses.replace(
        config,
        clip_phase=cut(config.clip_phase),
        clip_refinements=tuple(cut(phase) for phase in config.clip_refinements),
        segment_phases=tuple(cut(phase) for phase in config.segment_phases),
    )


def _every(step: int, what: str, total: int) -> Any:
    def note(done: int) -> None:
        if done % step == 0:
            log.info("%s: %d of %d images", what, done, total)

    return note
