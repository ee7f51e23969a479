# SPDX-License-Identifier: Apache-2.0
"""Files from outside: nothing in them fills the memory, hangs the process or runs code."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from vl_anomaly_ros import config, untrusted
from vl_anomaly_ros.engine import bundle, calibration, description, graph_file
from vl_anomaly_ros.errors import ConfigError
from vl_anomaly_ros.text import bank, tokenizer, vocabulary
from vl_anomaly_ros.untrusted import MAX_YAML_BYTES, parse_yaml, plain, read_file

PACKAGE = Path(__file__).parents[1] / "vl_anomaly_ros"
LAUGHS = "a: &a [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "line 1: expected plain values, got an anchor or alias; write the value out"),
        ("a: &a {b: *a}", "an anchor or alias"),
        ("<<: *base", "an anchor or alias"),
        ("[" * 200_000, "at most 16 levels"),
        ("{a: " * 17, "at most 16 levels"),
        ("- " * 2000 + "a", "at most 16 levels"),
        ("- a\n" * 250_000, "at most 50000 keys and values"),
        ("a: " + "x" * 9000, "at most 8192 characters"),
        ("a" * (MAX_YAML_BYTES + 1), f"at most {MAX_YAML_BYTES} bytes"),
        ("a: 1\nb: {c: 1, c: 2}", "the key 'c' stands twice"),
        ("a: " + "9" * 5000, "syntax error"),
        ("a: 99999999999999999999", "more than 64 bits"),
        ("a: 0x" + "f" * 8000, "more than 64 bits"),
        ("a: " + "1:" * 4000 + "1", "more than 64 bits"),
        ("a: 2026-13-45", "month must be in"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("!!python/name:os.system", "could not determine a constructor"),
        ("a: \x1b[2J", "syntax error"),
        (b"a: \xff", "syntax error"),
        ("a: [1", "syntax error"),
        ("a\n---\nb", "a single document"),
        ("? [1]\n: 2", "unhashable"),
    ],
)
def test_yaml_within_limits(text: str | bytes, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "some.yaml", ConfigError)
    assert re.match(r"some\.yaml: (line \d+: )?expected ", str(caught.value))
    assert said in str(caught.value)
    assert plain(str(caught.value)) == str(caught.value), "a message is one line of printable characters"


def test_plain_yaml_is_read() -> None:
    text = "a: {b: [1, -2.5, true, null, 'x', 9223372036854775807]}\nlong: [" + ", ".join(["w"] * 40_000) + "]"
    values = parse_yaml(text, "some.yaml", ConfigError)
    assert values["a"] == {"b": [1, -2.5, True, None, "x", 2**63 - 1]}
    assert len(values["long"]) == 40_000
    assert parse_yaml("", "some.yaml", ConfigError) is None


def test_files_within_limits(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_file(path, 5, ConfigError) == b"12345"
    with pytest.raises(ConfigError, match="file: expected at most 4 bytes, got 5"):
        read_file(path, 4, ConfigError)
    os.truncate(path, 1 << 40)  # takes no space on the disk
    with pytest.raises(ConfigError, match=f"expected at most 5 bytes, got {1 << 40}"):
        read_file(path, 5, ConfigError)
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(ConfigError, match="expected a regular file"):
            read_file(tmp_path / name, 5, ConfigError)
    with pytest.raises(ConfigError, match="regular file"):
        read_file(Path("/dev/zero"), 5, ConfigError)
    with pytest.raises(ConfigError, match="absent: expected a readable file"):
        read_file(tmp_path / "absent", 5, ConfigError)
    with pytest.raises(ConfigError, match=r"a\\x00b: expected a readable file") as caught:
        read_file(tmp_path / "a\0b", 5, ConfigError)
    assert "\0" not in str(caught.value)


def test_nothing_that_the_vehicle_runs_loads_code_from_a_file() -> None:
    """YAML goes through `parse_yaml`; there is no pickle, no shared library, no evaluated text.

    A TensorRT engine is code: the one place that loads it takes what the cache has built and verified.
    """
    elsewhere = {"cli", "demo", "doctor", "evaluation", "model", "replay", "simulation", "training"}
    parts = {path: path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    running = [path for path, part in parts.items() if part not in elsewhere]
    forbidden = (
        r"import pickle|marshal|shelve|ctypes|dlopen|\beval\(|\bexec\(|__import__|expanduser|expandvars"
        r"|register_custom_ops|safe_load|yaml\.load|allow_pickle|os\.system|shell=True|deserialize"
    )
    found = [
        f"{path.name}: {line.strip()}"
        for path in running
        for line in path.read_text().splitlines()
        if re.search(forbidden, line)
    ]
    assert sorted(found) == [
        "network.py: engine = runtime.deserialize_cuda_engine(plan)",
        "untrusted.py: return yaml.load(content, Loader=_Loader)  # noqa: S506 - a SafeLoader",
    ]


def test_the_limits_are_those_of_the_documentation() -> None:
    text = " ".join((PACKAGE.parent / "docs" / "security.md").read_text().split())
    said = [
        f"1 MiB, {untrusted.MAX_YAML_DEPTH} levels, 50 000 keys and values, {untrusted.MAX_YAML_CHARACTERS} characters",
        "64 MiB; padding",
        f"2 GiB each, {graph_file.MAX_SUBGRAPH_DEPTH} graphs within",
        f"weights beside a graph {bundle.MAX_DATA_BYTES >> 30} GiB",
        f"{vocabulary.MAX_KNOWN} known classes with {vocabulary.MAX_SYNONYMS} synonyms each",
        f"{vocabulary.MAX_OOD_PROMPTS} OOD prompts, {vocabulary.MAX_CANDIDATES} candidates",
        f"words of {vocabulary.MAX_WORD_CHARACTERS} printable",
        "262 144 texts, 65 536 rows",
        f"{bundle.MAX_INPUT_PX} x {bundle.MAX_INPUT_PX} px, {description.MAX_TEXTS} detector classes",
        f"{bundle.MAX_PROMPT_TEMPLATES} prompt templates, lines of {description.MAX_LINE_CHARACTERS} printable",
        f"{calibration.MAX_CURVE_POINTS} points of the curve",
        f"{config.MAX_CHARACTERS} printable characters, {config.MAX_LIST} values",
    ]
    assert [words for words in said if words not in text] == []
    assert (untrusted.MAX_YAML_BYTES, untrusted.MAX_YAML_NODES) == (1 << 20, 50_000)
    assert (tokenizer.MAX_TOKENIZER_BYTES, bundle.MAX_GRAPH_BYTES) == (64 << 20, (2 << 30) - 1)
    assert (bank.MAX_TEXTS, bank.MAX_ROWS) == (262_144, 65_536)
