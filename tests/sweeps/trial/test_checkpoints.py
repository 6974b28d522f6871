"""A job continues from its own latest sound checkpoint, despite damage, full disks and other writers."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from conclugen.files import durable
from sweeps.trial import checkpoints
from tests.damage import Damage, damages

CPU = torch.device("cpu")
IDENTITY = {"method": "Con", "seed": 1, "hyperparameters": {"lr": 0.1}, "modalities": ("video",), "labels": None}


def state(epoch: int) -> dict[str, Tensor]:
    return {
        "weight": torch.full((3, 2), float(epoch)),
        "steps": torch.tensor(epoch),
        "half": torch.ones(4, dtype=torch.bfloat16),
        "none": torch.zeros(0),
    }


def save(folder: Path, epoch: int, identity: dict[str, Any] = IDENTITY) -> None:
    checkpoints.save(folder, epoch, state(epoch), {"seconds": f"{epoch}.0"}, identity)


def loaded(folder: Path, identity: dict[str, Any] = IDENTITY) -> int | None:
    """Load a state, check that it is whole, and return its epoch."""
    result = checkpoints.load(folder, identity, CPU)
    if result is None:
        return None
    tensors, metadata = result
    epoch = int(tensors["steps"])
    assert metadata == {"seconds": f"{epoch}.0"}
    assert tensors.keys() == state(epoch).keys()
    for name, tensor in state(epoch).items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    return epoch


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.safetensors"))


def test_the_latest_two_checkpoints_are_kept_and_the_latest_is_loaded(tmp_path: Path) -> None:
    assert loaded(tmp_path / "job") is None
    for epoch in (1, 2, 9, 10):
        save(tmp_path / "job", epoch)
        assert loaded(tmp_path / "job") == epoch
    assert len(list((tmp_path / "job").iterdir())) == 2


def test_the_checkpoint_before_a_damaged_one_is_loaded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, 4)
    save(tmp_path, 8)
    last = files(tmp_path)[-1]
    last.write_bytes(last.read_bytes()[:-1])
    assert loaded(tmp_path) == 4
    assert f"{last} is damaged" in capfd.readouterr().err
    assert last.with_name(f"{last.name}.damaged").exists()
    assert not last.exists()
    save(tmp_path, 8)
    assert loaded(tmp_path) == 8


def test_no_checkpoint_is_loaded_where_all_are_damaged(tmp_path: Path) -> None:
    for epoch in (1, 2):
        save(tmp_path, epoch)
    for path in files(tmp_path):
        path.write_bytes(b"")
    assert loaded(tmp_path) is None


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    folder = tmp_path_factory.mktemp("sound")
    save(folder, 3)
    return files(folder)[0], files(folder)[0].read_bytes()


@settings(max_examples=200, deadline=None)
@given(damage=damages)
def test_a_damaged_checkpoint_is_never_loaded(sound: tuple[Path, bytes], damage: Damage) -> None:
    path, content = sound
    path.write_bytes(damage(content))
    assert loaded(path.parent) == (3 if damage(content) == content else None)


@pytest.mark.parametrize(
    "other", [{"seed": 2}, {"hyperparameters": {"lr": 0.2}}, {"modalities": ()}, {"labels": {"per_class": 5}}]
)
def test_another_runs_checkpoint_is_neither_loaded_nor_removed(tmp_path: Path, other: dict[str, Any]) -> None:
    save(tmp_path, 50)
    save(tmp_path, 60)
    assert loaded(tmp_path, IDENTITY | other) is None
    for epoch in (1, 2, 3):
        save(tmp_path, epoch, IDENTITY | other)
    assert loaded(tmp_path, IDENTITY | other) == 3
    assert loaded(tmp_path) == 60


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_costs_only_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], code: int
) -> None:
    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    save(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "fsync", full)
        save(tmp_path, 2)
    assert os.strerror(code) in capfd.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1
    assert loaded(tmp_path) == 1


def test_another_error_of_the_disk_is_raised(tmp_path: Path) -> None:
    (tmp_path / "job").touch()
    with pytest.raises(OSError, match="job"):
        save(tmp_path / "job", 1)


def test_partial_files_of_killed_writers_are_removed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / f".{files(tmp_path)[0].name}.123-ab.partial").write_bytes(b"half")
    assert loaded(tmp_path) == 1
    assert list(tmp_path.iterdir()) == files(tmp_path)


def test_all_workers_load_the_latest_checkpoint_that_each_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads act as workers: the second cannot read the latest file, and only the first lists the folder."""
    for epoch in (1, 2):
        save(tmp_path, epoch)
    latest = files(tmp_path)[-1]
    read = checkpoints.read_tensors
    worker = threading.local()
    barrier = threading.Barrier(2, timeout=20)
    messages = [torch.tensor(0), torch.tensor(0)]

    def exchange(x: Tensor) -> list[Tensor]:
        barrier.wait()
        messages[worker.rank] = x
        barrier.wait()
        return list(messages)

    def read_as_worker(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
        if worker.rank == 1 and path == latest:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return read(path)

    monkeypatch.setattr(checkpoints, "rank_and_size", lambda: (worker.rank, 2))
    monkeypatch.setattr(checkpoints, "broadcast", lambda x: exchange(x)[0])
    monkeypatch.setattr(checkpoints, "average", lambda x: torch.stack(exchange(x)).mean())
    monkeypatch.setattr(checkpoints, "read_tensors", read_as_worker)

    def work(rank: int) -> int | None:
        worker.rank = rank
        return loaded(tmp_path)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, range(2))) == [1, 1]
    assert latest.exists()
