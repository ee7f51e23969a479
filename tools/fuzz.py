# SPDX-License-Identifier: Apache-2.0
"""Hostile messages through the conversion layer, as many as are asked for:  python -m tools.fuzz --messages 1000000.

Stops at the first that brings something down and tells its seed; prints what was taken and why the rest was refused.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "test" / "helpers")]

import hostile_checks  # noqa: E402

# By kind, its part of the messages: settings take 25 times as long as images, and come once.
SHARES = {"image": 0.3, "compressed": 0.2, "info": 0.15, "cloud": 0.25, "transforms": 0.08, "parameters": 0.02}
_CHUNK = 1000


def main() -> None:
    """Run; an exception is a failure, and names its message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first message of each kind")
    parser.add_argument("--kind", choices=sorted(SHARES), help="only this kind")
    parser.add_argument("--json", type=Path, help="write the counts here as well")
    arguments = parser.parse_args()
    shares = {arguments.kind: 1.0} if arguments.kind else SHARES
    result: dict[str, dict[str, int]] = {}
    start = time.monotonic()
    for kind, share in shares.items():
        found: Counter[str] = Counter()
        count = round(arguments.messages * share)
        for done in range(0, count, _CHUNK):
            found += hostile_checks.run(kind, arguments.seed + done, min(_CHUNK, count - done))
        result[kind] = dict(found.most_common())
        print(f"{kind}: {count} messages, {found['taken']} taken, {count - found['taken']} refused, of these")
        for reason, times in found.most_common():
            if reason != "taken":
                print(f"  {times:8d}  {reason}")
    total = sum(sum(counts.values()) for counts in result.values())
    print(f"{total} messages in {time.monotonic() - start:.0f} s, no failure")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
