# SPDX-License-Identifier: Apache-2.0
"""No message, however wrong, brings down what reads it: a right value, or one error with its reason.

The first test makes many messages by seed, as `python -m tools.fuzz` does without end; the others let hypothesis
choose each field, which it can then shrink to the smallest message that fails.
"""

from __future__ import annotations

import random
from types import SimpleNamespace as Message
from typing import Any

import hostile_checks
import hostile_messages
import hostile_values
import pytest

hypothesis = pytest.importorskip("hypothesis", reason="needs hypothesis: pip install .[dev]")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from vl_anomaly_ros.decoding.encodings import ENCODINGS  # noqa: E402

CHOSEN = settings(deadline=None, max_examples=300, derandomize=True, suppress_health_check=list(HealthCheck))
BULK = settings(CHOSEN, max_examples=25)
# By kind, the messages that one example makes; in all 25 * 960 = 24 000.
AT_ONCE = {"image": 300, "compressed": 200, "info": 150, "cloud": 200, "transforms": 90, "parameters": 20}


@pytest.mark.parametrize("kind", list(AT_ONCE))
@BULK
@given(seed=st.integers(0, 2**40))
def test_altered_messages(kind: str, seed: int) -> None:
    found = hostile_checks.run(kind, seed, AT_ONCE[kind])
    assert found.total() == AT_ONCE[kind]


def test_the_messages_are_neither_all_taken_nor_all_refused() -> None:
    """Else the generator tests little."""
    for kind in hostile_messages.KINDS:
        found = hostile_checks.run(kind, 0, 400)
        assert len(found) >= 4, f"{kind}: {found}"
        assert 4 <= found["taken"] <= 340, f"{kind}: {found}"


def test_a_failure_tells_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> None:
        raise IndexError("outside")

    monkeypatch.setitem(hostile_checks._CHECKS, "image", (broken, ValueError))
    with pytest.raises(AssertionError, match="image of seed 7: IndexError: outside"):
        hostile_checks.run("image", 7, 1)


def test_a_message_comes_again_by_its_seed() -> None:
    first, second = (hostile_messages.image(random.Random(5)) for _ in range(2))  # noqa: S311
    assert bytes(first.data) == bytes(second.data)
    assert (first.width, first.height, first.encoding) == (second.width, second.height, second.encoding)


UINT32 = st.one_of(st.integers(0, 20), st.sampled_from(hostile_values.NUMBERS), st.integers(0, 2**32 - 1))
FLOAT = st.floats(width=64)
TEXT = st.one_of(st.sampled_from(list(ENCODINGS)), st.text(max_size=20))
HEADER = st.builds(
    Message,
    stamp=st.builds(Message, sec=st.integers(-(2**31), 2**31 - 1), nanosec=UINT32),
    frame_id=st.text(max_size=10),
)
IMAGE = st.builds(
    Message, header=HEADER, encoding=TEXT, width=UINT32, height=UINT32, step=UINT32, is_bigendian=st.integers(0, 255),
    data=st.binary(max_size=600),
)  # fmt: skip
COMPRESSED = st.builds(
    Message,
    format=st.one_of(st.sampled_from(["jpeg", "png", "bayer_rggb8; png compressed"]), st.text(max_size=20)),
    data=st.builds(
        bytes.__add__, st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]), st.binary(max_size=200)
    ),
)
FIELD = st.builds(
    Message, name=st.sampled_from(["x", "y", "z", "t", "time", "timestamp", "ring"]), offset=st.integers(0, 40),
    datatype=st.integers(0, 11), count=st.integers(0, 2),
)  # fmt: skip
CLOUD = st.builds(
    Message, header=HEADER, width=UINT32, height=UINT32, point_step=UINT32, row_step=UINT32, is_dense=st.booleans(),
    is_bigendian=st.booleans(), fields=st.lists(FIELD, max_size=6), data=st.binary(max_size=400),
)  # fmt: skip
INFO = st.builds(
    Message, header=HEADER, width=UINT32, height=UINT32, binning_x=UINT32, binning_y=UINT32,
    distortion_model=st.sampled_from(["plumb_bob", "rational_polynomial", "equidistant", "", "magic"]),
    d=st.lists(FLOAT, max_size=16), k=st.lists(FLOAT, min_size=8, max_size=10),
    r=st.lists(FLOAT, min_size=9, max_size=9), p=st.lists(FLOAT, min_size=12, max_size=12),
    roi=st.builds(Message, x_offset=UINT32, y_offset=UINT32, width=UINT32, height=UINT32, do_rectify=st.booleans()),
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "messages"), [("image", IMAGE), ("compressed", COMPRESSED), ("cloud", CLOUD), ("info", INFO)]
)
@CHOSEN
@given(data=st.data())
def test_messages_of_any_fields(kind: str, messages: st.SearchStrategy[Message], data: st.DataObject) -> None:
    hostile_checks.outcome(kind, data.draw(messages))
