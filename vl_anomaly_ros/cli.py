# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly`: every command of the project. Exit codes: 0 done, 1 refused or failed, 2 wrong usage."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import NamedTuple

from vl_anomaly_ros import __version__
from vl_anomaly_ros.errors import VlAnomalyError


class Command(NamedTuple):
    """A command: a module with `add_arguments(parser)`, `run(args) -> int` and, if it likes, `EPILOG`."""

    module: str
    summary: str
    extra: str = ""


COMMANDS = {
    "demo": Command("vl_anomaly_ros.demo.command", "play the shipped simulated drive through the live node"),
    "replay": Command("vl_anomaly_ros.replay.command", "judge a recorded drive; results, pictures, report"),
    "eval": Command("vl_anomaly_ros.evaluation.command", "measure against a labelled data set"),
    "simulate": Command(
        "vl_anomaly_ros.simulation.command", "make data sets and drives in a simulated world", "simulation"
    ),
    "train": Command("vl_anomaly_ros.training.command", "train a bundle", "training"),
    "align": Command("vl_anomaly_ros.training.align_command", "train a PL-Aligner on published networks", "training"),
    "calibrate": Command("vl_anomaly_ros.evaluation.calibrate_command", "calibrate a bundle"),
    "export": Command("vl_anomaly_ros.training.export_command", "export a trained model to a bundle", "training"),
    "build-engine": Command("vl_anomaly_ros.build_engine_command", "build TensorRT engines of a bundle"),
    "tagger": Command("vl_anomaly_ros.training.tagger_command", "train a tagger on a bundle's CLIP", "training"),
    "vocabulary": Command("vl_anomaly_ros.vocabulary_command", "show or check a vocabulary"),
    "doctor": Command("vl_anomaly_ros.doctor", "say what this machine has and lacks"),
}
EXAMPLES = """examples:
  vl-anomaly demo
  vl-anomaly replay drive_bag --out out/drive
  vl-anomaly replay drive_bag --out out/drive --live
  vl-anomaly vocabulary my_words.yaml
  vl-anomaly doctor

`vl-anomaly COMMAND --help` explains a command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _on_terminate)
    try:
        return _main(words)
    except SystemExit as stop:  # argparse: 0 for --help, 2 for wrong usage
        return stop.code if isinstance(stop.code, int) else 2
    except VlAnomalyError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `vl-anomaly ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _on_terminate(number: int, frame: FrameType | None) -> None:
    """Leave as an exception does, so that child processes are stopped and half results are cleared away."""
    del frame
    raise SystemExit(128 + number)


def _main(words: list[str]) -> int:
    commands = {name: command for name, command in COMMANDS.items() if _exists(command.module)}
    listing = "\n".join(f"  {name:<14}{command.summary}" for name, command in commands.items())
    parser = argparse.ArgumentParser(
        prog="vl-anomaly",
        description="Find what perception was never trained on, name it, and place it in 3D.",
        epilog=f"commands:\n{listing}\n\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vl-anomaly {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more about what goes on")
    parser.add_argument("command", metavar="COMMAND", choices=list(commands), help="one of those below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING, format="%(levelname)s: %(message)s", force=True
    )
    return _run(args.command, commands[args.command], args.arguments)


def _run(name: str, command: Command, words: list[str]) -> int:
    try:
        module = importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        if not command.extra or (error.name or "").startswith("vl_anomaly_ros"):
            raise
        print(
            f"ERROR: `vl-anomaly {name}` needs {error.name}, which is not installed; "
            f"pip install 'vl-anomaly-ros[{command.extra}]'",
            file=sys.stderr,
        )
        return 1
    parser = argparse.ArgumentParser(
        prog=f"vl-anomaly {name}",
        description=command.summary[0].upper() + command.summary[1:] + ".",
        epilog=getattr(module, "EPILOG", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(words)))


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())
