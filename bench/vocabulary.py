# SPDX-License-Identifier: Apache-2.0
"""Words added and removed while images are judged: how long a change takes, when it counts, what it costs the images.

./run bench vocabulary [--rounds N]

One thread judges image after image with the shipped bundle, as the node's does; another one changes the vocabulary.
"""

from __future__ import annotations

import argparse
import threading
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from bench.report import percentiles, write_result
from vl_anomaly_ros.config import Config
from vl_anomaly_ros.pipeline import Pipeline
from vl_anomaly_ros.text.vocabulary import KnownClass
from vl_anomaly_ros.types import Frame

CALM_S = 2.0
"""Images between two changes, whose times the others are compared with."""


@dataclass(frozen=True)
class Judged:
    """One image: when it was begun, how long it took, and by which vocabulary."""

    began_s: float
    took_ms: float
    revision: int


class Player:
    """Judges images until it is stopped."""

    def __init__(self, pipeline: Pipeline) -> None:
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (256, 512, 3), np.uint8)
        self._frame = Frame(0, "camera", "optical", image, "base_link")
        self._pipeline, self._stop = pipeline, threading.Event()
        self.judged: list[Judged] = []
        self._thread = threading.Thread(target=self._play)

    def __enter__(self) -> Player:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _play(self) -> None:
        while not self._stop.is_set():
            began_s = perf_counter()
            result = self._pipeline.process(self._frame)
            if not result.ok:
                raise SystemExit(f"an image was not judged: {result.reason}")
            self.judged.append(Judged(began_s, (perf_counter() - began_s) * 1e3, result.vocabulary_revision))


def main() -> int:
    """Measure, print and keep the figures; 1 where an image begun after a change did not follow it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="times that each change is made")
    args = parser.parse_args()
    pipeline = Pipeline(Config())
    start = pipeline.vocabulary
    changes = {
        "add 1 known class": replace(start, known=(*start.known, KnownClass("zebra crossing"))),
        "add 1 OOD prompt": replace(start, ood_prompts=(*start.ood_prompts, "hovercraft")),
        "add 100 candidates": replace(start, candidates=(*start.candidates, *(f"thing {n}" for n in range(100)))),
        "add 1000 candidates": replace(start, candidates=(*start.candidates, *(f"object {n}" for n in range(1000)))),
        "remove 1 known class": replace(start, known=start.known[:-1]),
    }
    results, late = {}, 0
    print(f"{'change':<22}{'change takes, ms':>20}{'images meanwhile, ms':>24}{'images before, ms':>22}")
    with Player(pipeline) as player:
        threading.Event().wait(CALM_S)
        for name, vocabulary in changes.items():
            takes, during, before = [], [], []
            for _ in range(args.rounds):
                since = perf_counter()
                threading.Event().wait(CALM_S)
                asked = perf_counter()
                revision = pipeline.set_vocabulary(vocabulary)
                done = perf_counter()
                threading.Event().wait(CALM_S / 2)
                seen = list(player.judged)
                late += sum(image.began_s > done and image.revision < revision for image in seen)
                takes.append((done - asked) * 1e3)
                before += [i.took_ms for i in seen if i.began_s > since and i.began_s + i.took_ms / 1e3 < asked]
                during += [i.took_ms for i in seen if i.began_s < done and i.began_s + i.took_ms / 1e3 > asked]
                pipeline.set_vocabulary(start)
            results[name] = {
                "change": percentiles(takes),
                "images_meanwhile": {**percentiles(during), "worst_ms": round(max(during), 2)},
                "images_before": {**percentiles(before), "worst_ms": round(max(before), 2)},
            }
            columns = (f"{r['median_ms']:.1f} / {r['p99_ms']:.1f}" for r in results[name].values())
            print(name.ljust(22) + "".join(c.rjust(w) for c, w in zip(columns, (20, 24, 22))), flush=True)
    print(f"images begun after a change that did not follow it: {late}")
    path = write_result("vocabulary", {"rounds": args.rounds, "changes": results, "images_too_late": late})
    print(f"median / p99; kept in {path}")
    return int(late > 0)


if __name__ == "__main__":
    raise SystemExit(main())
