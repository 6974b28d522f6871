"""Workers: the train loop of a persistent Ray Train worker group, which runs one job after another."""

from pathlib import Path
from typing import Any

import ray
import torch
from ray.train.torch import get_device

from conclugen.pretrain import DivergedError
from sweeps.config import load_config
from sweeps.plan import Job, Report, SweepFolder
from sweeps.trial import TrialRunner

__all__ = ["attempt", "serve"]


def serve(settings: dict[str, Any]) -> None:
    """Take jobs from a mailbox and run them until there are no more.

    Args:
        settings: ``mailbox`` (its actor), ``folder`` (the sweep's) and ``cpus`` (threads to use).
    """
    torch.set_num_threads(settings["cpus"])
    torch.set_flush_denormal(True)  # the optimisers' vanishing moments are 10 times slower as denormal numbers
    folder = SweepFolder(Path(settings["folder"]))
    runner = TrialRunner(load_config(folder.config), get_device())
    mailbox = settings["mailbox"]
    while (job := ray.get(mailbox.take.remote())) is not None:
        report = attempt(runner, job, folder.checkpoint(job.key), mailbox)
        if report is not None:
            ray.get(mailbox.report.remote(job.key, report))


def attempt(runner: TrialRunner, job: Job, checkpoint: Path, mailbox: Any) -> Report | None:
    """Run ``job``; an exception of its own making becomes a failed report, and the process stays usable."""
    last = Report(epochs=0)

    def report(progress: Report) -> bool:
        nonlocal last
        last = progress
        return bool(ray.get(mailbox.report.remote(job.key, progress)))

    try:
        return runner.run(job, checkpoint, report)
    except ray.exceptions.RayError:
        raise  # the slot is gone, and the group goes with it
    except DivergedError as error:
        reason = f"nan_loss: {error}"
    except (torch.OutOfMemoryError, MemoryError) as error:
        reason = f"out_of_memory: {error}"
    except Exception as error:  # a trial must not take the group down: its reason goes into the ledger
        reason = f"exception: {type(error).__name__}: {error}"
    return Report(epochs=last.epochs, value=last.value, seconds=last.seconds, state="failed", reason=reason)
