"""Checkpoints keep a running job's state, so that the job continues from its own latest sound state.

The latest two generations are kept, each in a sealed file. So a damaged file costs only the epochs since the generation
before it. A file's name holds the run and the epoch. The run is a digest of everything that the state follows from. So
a trial with a former trial's number and other hyperparameters finds no file of that trial. A worker that outlives a
killed driver may still write; it writes the same state as the resumed run.
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

from conclugen.counts import counted
from conclugen.distributed import average, broadcast, rank_and_size
from conclugen.files.durable import DamagedError, set_aside
from conclugen.files.tensors import read_tensors, write_tensors
from sweeps.terminal import log

__all__ = ["KEPT", "load", "save"]

KEPT = 2
"""How many files a running job keeps; while it writes another, there is one more."""


def save(
    folder: Path, epoch: int, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], identity: Mapping[str, Any]
) -> None:
    """Write a job's state; only the first of several workers writes. A full disk costs the checkpoint, not the job.

    Args:
        folder: the job's own folder; made if it is missing.
        epoch: pretraining epochs done.
        tensors: the state.
        metadata: texts that belong to the state.
        identity: everything that the state follows from, as plain JSON values.

    Raises:
        OSError: the file cannot be written, for another reason than a full disk.
    """
    if rank_and_size()[0] > 0:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(_path(folder, identity, epoch), tensors, metadata)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        log(
            f"{folder}: no checkpoint after {counted(epoch, 'epoch')}: {os.strerror(error.errno)}; "
            "the earlier one is kept."
        )
        return
    for old_epoch in _epochs(folder, identity)[KEPT:]:
        _path(folder, identity, old_epoch).unlink(missing_ok=True)


def load(
    folder: Path, identity: Mapping[str, Any], device: torch.device
) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Return the latest sound state of the run and its metadata; None if there is none.

    All workers of a group call this and get the same generation. The first worker proposes one, and all must be able to
    read it. Damaged files are renamed ``*.damaged``, and the partial files of killed writers are removed.

    Args:
        folder: the job's own folder.
        identity: the identity that the state was saved with.
        device: the device for messages between workers; the state is on the CPU.
    """
    leads = rank_and_size()[0] == 0
    proposals = iter(_epochs(folder, identity) if leads else [])
    if leads:
        for partial in folder.glob(f".{_stem(identity)}*.partial"):
            partial.unlink(missing_ok=True)
    while (epoch := int(broadcast(torch.tensor(next(proposals, -1), device=device)))) >= 0:
        state = _read(_path(folder, identity, epoch), rename=leads)
        if float(average(torch.tensor(float(state is not None), device=device))) == 1:
            log(f"{folder}: continues after epoch {epoch}.")
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
    """Return the epochs of the run's files, the latest first."""
    stem = _stem(identity)
    return sorted((int(path.stem.removeprefix(stem)) for path in folder.glob(f"{stem}*.safetensors")), reverse=True)


def _path(folder: Path, identity: Mapping[str, Any], epoch: int) -> Path:
    return folder / f"{_stem(identity)}{epoch:06d}.safetensors"


def _stem(identity: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"checkpoint-{digest[:16]}-"
