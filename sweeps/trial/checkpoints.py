"""Checkpoints: how a running job's state is kept, so that a run goes on from its own latest sound state.

The latest two generations are kept, each in a sealed file, so that one which is damaged costs the epochs since the one
before it and no more. A generation is named by its run and epoch. Its run is what the caller says the state follows
from: a trial that comes back under its number with other hyperparameters finds nothing of its predecessor's, and the
orphan of a killed driver, which may still be writing, writes what the run itself would.
"""

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conclugen.distributed import average, broadcast, rank_and_size
from conclugen.files.durable import DamagedError, set_aside
from conclugen.files.tensors import read_tensors, write_tensors
from sweeps.terminal import log

__all__ = ["KEPT", "load", "save"]

KEPT = 2
"""Files of a running job; one more while one is written."""


def save(
    folder: Path, epoch: int, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], identity: Mapping[str, Any]
) -> None:
    """Keep a job's state; of several workers, the first does. A full disk costs the checkpoint, not the job.

    Args:
        folder: the job's own; made where there is none.
        epoch: pretraining epochs done.
        tensors: the state.
        metadata: what else belongs to it.
        identity: all that the state follows from, as plain JSON values.

    Raises:
        OSError: it cannot be written, and that for another reason.
    """
    if rank_and_size()[0] > 0:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(_path(folder, identity, epoch), tensors, metadata)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        log(f"{folder}: no checkpoint after {epoch} epochs: {os.strerror(error.errno)}; the earlier one is kept.")
        return
    for old in _epochs(folder, identity)[KEPT:]:
        _path(folder, identity, old).unlink(missing_ok=True)


def load(
    folder: Path, identity: Mapping[str, Any], device: torch.device
) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Return the latest sound state of the run and its metadata; None if there is none.

    All workers of a group call this and get the same generation: the first proposes, and all must be able to read it.
    Damaged files are renamed ``*.damaged``, and what killed writers left half is removed.

    Args:
        folder: the job's.
        identity: as it was saved with.
        device: where the workers' messages to each other lie; the state is on the CPU.
    """
    leads = rank_and_size()[0] == 0
    proposals = iter(_epochs(folder, identity) if leads else [])
    if leads:
        for partial in folder.glob(f".{_stem(identity)}*.partial"):
            partial.unlink(missing_ok=True)
    while (epoch := int(broadcast(torch.tensor(next(proposals, -1), device=device)))) >= 0:
        state = _read(_path(folder, identity, epoch), rename=leads)
        if float(average(torch.tensor(float(state is not None), device=device))) == 1:
            log(f"{folder}: goes on after epoch {epoch}.")
            return state
    return None


def _read(path: Path, *, rename: bool) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    try:
        return read_tensors(path)
    except DamagedError as error:
        log(f"{error} An earlier one is tried, or the job starts again.")
        if rename:
            set_aside(path, [path.with_name(f"{path.name}.damaged")])
    except OSError as error:
        log(f"{path} cannot be read: {error.strerror}. An earlier one is tried, or the job starts again.")
    return None


def _epochs(folder: Path, identity: Mapping[str, Any]) -> list[int]:
    """The run's generations, the latest first."""
    stem = _stem(identity)
    return sorted((int(path.stem.removeprefix(stem)) for path in folder.glob(f"{stem}*.safetensors")), reverse=True)


def _path(folder: Path, identity: Mapping[str, Any], epoch: int) -> Path:
    return folder / f"{_stem(identity)}{epoch:06d}.safetensors"


def _stem(identity: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"checkpoint-{digest[:16]}-"
