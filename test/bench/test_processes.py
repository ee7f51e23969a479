# SPDX-License-Identifier: Apache-2.0
"""Records, and child processes that are ended whatever they do."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic, sleep

import pytest

from bench.node_parts import processes as processes_module
from bench.node_parts.processes import Processes, cost_of
from bench.node_parts.records import Log, read, received, sent

MODULE = """
import signal, sys, time
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("started", flush=True)
if sys.argv[1] == "crash":
    sys.exit("out of luck")
time.sleep(60)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bench_child.py").write_text(MODULE)
    return {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}


def wait_for(path: Path, text: str) -> None:
    end_s = monotonic() + 30
    while text not in (path.read_text() if path.exists() else ""):
        assert monotonic() < end_s, f"{text} is not in {path}"
        sleep(0.02)


def test_children_end_with_the_context_even_stubborn_ones(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes_module, "_STOP_S", 0.5)
    with Processes(tmp_path, environment) as children:
        pids = [children.start(name, "bench_child", name) for name in ("willing", "stubborn")]
        for name in ("willing", "stubborn"):
            wait_for(children.log(name), "started")
        assert children.crashed() == ""
        assert all(cost_of(pid) is not None for pid in pids)
    assert [cost_of(pid) for pid in pids] == [None, None]


def test_a_crash_is_told_with_its_last_words(tmp_path: Path, environment: dict[str, str]) -> None:
    with Processes(tmp_path, environment) as children:
        children.start("node", "bench_child", "crash")
        end_s = monotonic() + 30
        while not children.crashed() and monotonic() < end_s:
            sleep(0.02)
        assert "node ended with exit code 1" in children.crashed()
        assert "out of luck" in children.crashed()


def test_the_cost_of_this_process_grows() -> None:
    first = cost_of(os.getpid())
    assert first is not None
    end_s = monotonic() + 0.3
    while monotonic() < end_s:
        pass
    second = cost_of(os.getpid())
    assert second is not None
    assert second.cpu_s > first.cpu_s
    assert second.rss_kib > second.anonymous_kib > 1000


def test_records_survive_a_process_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "sent.tsv"
    with Log(path) as log:
        log.write("front", 1, 2, 3, 4)
    path.write_text(path.read_text() + "front\t5\t6")  # the last line is cut short
    assert [(image.camera, image.exposed_ns) for image in sent(path)] == [("front", 4)]
    assert read(tmp_path / "absent.tsv") == []
    path.write_text("/vl_anomaly/anomalies\t7\t8\t900\n")
    assert [(m.topic, m.stamp_ns, m.at_ns, m.size) for m in received(path)] == [("/vl_anomaly/anomalies", 7, 8, 900)]
