"""A job's hardware is named as a paper would name it."""

import platform

import pytest
import torch

from sweeps.trial import hardware
from sweeps.trial.hardware import own_hardware

CPU = torch.device("cpu")


def test_hardware_of_a_cpu_has_torchs_threads_and_no_gpus() -> None:
    result = own_hardware(CPU)
    assert (result.device, result.gpus, result.workers) == ("cpu", 0, 1)
    assert result.threads == torch.get_num_threads()
    assert result.host == platform.node()


def test_each_worker_of_a_group_on_gpus_counts_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "rank_and_size", lambda: (2, 4))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Big GPU {device.index}")
    result = own_hardware(torch.device("cuda", 3))
    assert (result.device, result.gpus, result.workers) == ("Big GPU 3", 4, 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_named() -> None:
    result = own_hardware(torch.device("cuda", 0))
    assert result.gpus == 1
    assert result.device == torch.cuda.get_device_properties(0).name
