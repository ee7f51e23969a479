# SPDX-License-Identifier: Apache-2.0
"""Checkpoints are read without running code, and loaded whole or refused by name."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from safetensors.torch import save_file  # noqa: E402

from vl_anomaly_ros.errors import TrainingError  # noqa: E402
from vl_anomaly_ros.model.checkpoint import load_strictly, read_state, without  # noqa: E402


class Trap:
    """Writes a file when a pickle of it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


@pytest.mark.parametrize("wrapping", [None, "state_dict", "model", "average"])
def test_torch_files_of_every_wrapping_are_read(tmp_path: Path, wrapping: str | None) -> None:
    state = {"module.a": torch.ones(2), "module.b": torch.zeros(3)}
    torch.save({wrapping: state, "epoch": 3} if wrapping else state, tmp_path / "w.pt")
    have = read_state(tmp_path / "w.pt")
    assert {key: tuple(value.shape) for key, value in have.items()} == {"a": (2,), "b": (3,)}
    assert torch.equal(have["a"], torch.ones(2))


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3.0)}, tmp_path / "w.safetensors")
    assert torch.equal(read_state(tmp_path / "w.safetensors")["a"], torch.arange(3.0))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_with_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    made = tmp_path / "made"
    content = {"a": torch.ones(1), "trap": Trap(made)}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(TrainingError, match=r"w\.pt: expected a torch checkpoint of tensors alone"):
        read_state(tmp_path / "w.pt")
    assert not made.exists()


def test_a_bare_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(Trap(tmp_path / "made")))
    with pytest.raises(TrainingError, match="tensors alone"):
        read_state(tmp_path / "w.pkl")
    assert not (tmp_path / "made").exists()


def test_torchscript_and_spoiled_files_are_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "openai.pt")
    with pytest.raises(TrainingError, match="TorchScript archives are never opened"):
        read_state(tmp_path / "openai.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\x00")
    with pytest.raises(TrainingError, match=r"cut\.safetensors: expected a whole checkpoint"):
        read_state(tmp_path / "cut.safetensors")
    with pytest.raises(TrainingError, match="got nothing there"):
        read_state(tmp_path / "absent.pt")
    torch.save({"a": torch.ones(1), "lr": 0.1}, tmp_path / "mixed.pt")
    with pytest.raises(TrainingError, match=r"mixed\.pt: lr: expected a tensor, got float"):
        read_state(tmp_path / "mixed.pt")


def test_every_key_that_does_not_fit_is_named_and_nothing_is_loaded() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = {key: torch.full_like(value, 7.0) for key, value in before.items()}
    state["2.extra"] = state.pop("0.bias")
    state["1.weight"] = torch.ones(1, 4)
    with pytest.raises(TrainingError) as caught:
        load_strictly(module, state, "file.pt")
    for part in ("1 missing: 0.bias", "1 unexpected: 2.extra", "1.weight expected (1, 3), got (1, 4)"):
        assert part in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_half_precision_becomes_float32() -> None:
    module = torch.nn.Linear(2, 2)
    state = {key: torch.full_like(value, 0.5).half() for key, value in module.state_dict().items()}
    load_strictly(module, state, "file.pt")
    assert module.weight.dtype == torch.float32
    assert torch.equal(module.weight, torch.full((2, 2), 0.5))


def test_only_listed_keys_are_ignored_and_each_with_its_reason() -> None:
    state = {key: torch.ones(1) for key in ("loss.a", "loss.b", "weight", "lossy")}
    kept, lines = without(state, {r"loss\..*": "training only", "absent": "never"})
    assert sorted(kept) == ["lossy", "weight"]
    assert lines == [r"2 x loss\..*: training only"]
