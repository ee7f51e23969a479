# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly export`: a bundle (not calibrated) from a run folder's checkpoints, or from published weights."""

from __future__ import annotations

import argparse
import logging
import re
from pathlib import Path
from typing import Any

import torch

from vl_anomaly_ros.console import say
from vl_anomaly_ros.errors import VlAnomalyError
from vl_anomaly_ros.model.presets import PRESETS
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.training.config import load_config
from vl_anomaly_ros.training.export_parts import Sources
from vl_anomaly_ros.training.export_preset import export_preset
from vl_anomaly_ros.training.pipeline import Run

EPILOG = """examples:
  vl-anomaly export out/run out/bundle
  vl-anomaly export --preset swin_b-vit_b_16 --segmenter mask2former-swin-base-cityscapes-semantic \\
      --clip ViT-B-16/open_clip_model.safetensors --out out/swin_b
  vl-anomaly export --preset fcclip-convnext_large_d_320 --fcclip fcclip_cocopan.pth --size 1024x512 --out out/fcclip

presets:
""" + "\n".join(f"  {name:<28}{preset.summary}" for name, preset in PRESETS.items())

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("run_folder", type=Path, nargs="?", help="folder that vl-anomaly train was given as --out")
    parser.add_argument("bundle", type=Path, nargs="?", help="bundle folder to write")
    parser.add_argument("--preset", choices=list(PRESETS), help="published networks instead of a run folder")
    parser.add_argument("--segmenter", type=Path, help="folder of a Mask2Former, layout of transformers")
    parser.add_argument("--clip", type=Path, help="open_clip's weights: safetensors or torch file, or their folder")
    parser.add_argument("--fcclip", type=Path, help="FC-CLIP's checkpoint, layout of detectron2")
    parser.add_argument("--aligner", type=Path, help="PL-Aligner, as training saves it")
    parser.add_argument("--quick-gelu", action="store_true", help="CLIP with OpenAI's activation, as OpenAI's weights")
    parser.add_argument("--vocabulary", type=Path, help="vocabulary to ship (default: Cityscapes)")
    parser.add_argument("--size", type=_size, metavar="WxH", help="network size in pixels (default: the preset's)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of PyTorch and of the comparison")
    parser.add_argument("--out", type=Path, help="bundle folder to write from a preset")


def run(args: argparse.Namespace) -> int:
    """Export. Returns 0, 1 after one sentence on what went wrong, or 2 where the arguments do not go together."""
    from_run, from_preset = (args.run_folder, args.bundle), (args.preset, args.out)
    if all(from_run) == all(from_preset) or (any(from_run) and any(from_preset)):
        log.error("export: expected RUN_FOLDER BUNDLE, or --preset NAME and --out BUNDLE; see vl-anomaly export --help")
        return 2
    try:
        if args.preset:
            torch.set_num_threads(args.threads)
            _say_figures(_export_preset(args))
        else:
            Run(load_config(args.run_folder / "config.yaml"), args.run_folder).export(args.bundle)
    except VlAnomalyError as error:
        log.error("export: %s", error)  # noqa: TRY400  (a sentence, no trace)
        return 1
    bundle = args.out or args.bundle
    log.info("bundle in %s; calibrate it next: vl-anomaly calibrate %s --images DIR", bundle, bundle)
    return 0


def _export_preset(args: argparse.Namespace) -> dict[str, Any]:
    preset = PRESETS[args.preset]
    width_px, height_px = args.size or (preset.width_px, preset.height_px)
    return export_preset(
        args.preset,
        preset,
        Sources(args.segmenter, args.clip, args.fcclip, args.aligner, args.quick_gelu),
        args.out,
        width_px=width_px,
        height_px=height_px,
        vocabulary=Vocabulary.from_file(args.vocabulary) if args.vocabulary else None,
        threads=args.threads,
    )


def _say_figures(figures: dict[str, Any]) -> None:
    say(f"parity: {figures['measured']}")
    for key in ("score_max_abs", "sources_max_abs", "head_alone_max_abs", "text_max_abs"):
        say(f"  {key:<24}{figures[key]:.3g}")
    for name, value in figures["visual_max_abs"].items():
        say(f"  {name:<24}{value:.3g}")
    say("sizes, MB: " + ", ".join(f"{file} {size:g}" for file, size in figures["megabytes"].items()))
    say(
        f"times, s: visual {figures['visual_s']:g} (PyTorch {figures['eager_visual_s']:g}), "
        f"head {figures['head_s']:g}, text {figures['text_s_each']:g} each"
    )
    say(f"peak memory: {figures['peak_memory_gb']:g} GB")
    say("not calibrated: run vl-anomaly calibrate before anything depends on its probabilities")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT in pixels, such as 1024x512, got {text}")
    return int(match.group(1)), int(match.group(2))
