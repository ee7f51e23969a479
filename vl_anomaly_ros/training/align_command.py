# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly align`: a PL-Aligner on published networks."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from vl_anomaly_ros.console import say
from vl_anomaly_ros.model.presets import PRESETS
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.training.align import align, load_align_config
from vl_anomaly_ros.training.export_parts import Sources

EPILOG = """example:
  vl-anomaly align config/training/align_cityscapes.yaml --preset swin_b-vit_b_16 \\
      --segmenter mask2former-swin-base-cityscapes-semantic --clip ViT-B-16/open_clip_model.safetensors \\
      --root data/cityscapes --out runs/aligner
  vl-anomaly export --preset swin_b-vit_b_16 --segmenter ... --clip ... --aligner runs/aligner/aligner.pt \\
      --out out/swin_b
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("config", type=Path, help="such as config/training/align_cityscapes.yaml")
    parser.add_argument("--preset", choices=list(PRESETS), required=True, help="which networks")
    parser.add_argument("--segmenter", type=Path, help="folder of a Mask2Former, layout of transformers")
    parser.add_argument("--clip", type=Path, help="open_clip's weights: safetensors or torch file, or their folder")
    parser.add_argument("--fcclip", type=Path, help="FC-CLIP's checkpoint, layout of detectron2")
    parser.add_argument("--quick-gelu", action="store_true", help="CLIP with OpenAI's activation, as OpenAI's weights")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="Cityscapes: leftImg8bit and gtFine")
    parser.add_argument("--vocabulary", type=Path, help="whose outlier words are kept away (default: Cityscapes)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="run folder, resumed if used before")


def run(args: argparse.Namespace) -> int:
    """Train. Returns 0; errors are raised before anything is written."""
    logging.getLogger("vl_anomaly_ros").setLevel(logging.INFO)
    path = align(
        load_align_config(args.config),
        PRESETS[args.preset],
        Sources(args.segmenter, args.clip, args.fcclip, quick_gelu=args.quick_gelu),
        args.root,
        args.out,
        Vocabulary.from_file(args.vocabulary) if args.vocabulary else None,
    )
    say(f"{path}: give it to vl-anomaly export --aligner")
    return 0
