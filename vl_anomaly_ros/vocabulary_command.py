# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly vocabulary`: show the words of a bundle, or check a file with one's own."""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import yaml

from vl_anomaly_ros.console import say
from vl_anomaly_ros.engine.bundle import default_bundle_path, load_bundle
from vl_anomaly_ros.text.vocabulary import Vocabulary

EPILOG = """examples:
  vl-anomaly vocabulary                         the words of the shipped bundle
  vl-anomaly vocabulary --yaml > my_words.yaml  the same as a file to start from
  vl-anomaly vocabulary my_words.yaml           check a file: exit code 1 and the reason where it cannot be used
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("file", nargs="?", type=Path, help="vocabulary.yaml to check (default: that of the bundle)")
    parser.add_argument("--bundle", metavar="DIR", help="bundle folder (default: the shipped sim-nano)")
    parser.add_argument("--yaml", action="store_true", help="print the vocabulary as a file")


def run(args: argparse.Namespace) -> int:
    """Show or check; 0 when the vocabulary can be used."""
    if args.file is not None:
        vocabulary, source = Vocabulary.from_file(args.file), str(args.file)
    else:
        bundle = load_bundle(args.bundle or default_bundle_path())
        vocabulary, source = bundle.vocabulary, f"bundle {bundle.name} {bundle.version}"
    if args.yaml:
        say(yaml.safe_dump(vocabulary.to_mapping(), sort_keys=False, allow_unicode=True).rstrip())
        return 0
    groups: dict[str, list[str]] = defaultdict(list)
    for known in vocabulary.known:
        words = known.name if not known.synonyms else f"{known.name} ({', '.join(known.synonyms)})"
        groups[known.group].append(words)
    say(f"{vocabulary.name}, from {source}: it can be used")
    say(f"{len(vocabulary.known)} known classes in {len(groups)} groups:")
    for group, names in groups.items():
        say(f"  {group}: {', '.join(names)}")
    say(f"{len(vocabulary.ood_prompts)} prompts for what is not known: {', '.join(vocabulary.ood_prompts) or '-'}")
    approved = sum(vocabulary.approves(word) for word in vocabulary.candidates)
    say(
        f"{len(vocabulary.candidates)} candidate names ({approved} approved): {', '.join(vocabulary.candidates) or '-'}"
    )
    return 0
