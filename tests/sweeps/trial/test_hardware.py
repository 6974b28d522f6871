"""A job's hardware is named as a paper would name it."""

import platform
from pathlib import Path

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


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC 9654: 96\n\nmodel name\t: other\n", "AMD EPYC 9654: 96"),
        ("processor\t: 0\nBogoMIPS\t: 2000.00\n", "arm"),  # Linux names no processor of ARM's
        (None, "arm"),  # another system
    ],
)
def test_the_processor_is_named_or_else_its_architecture(
    cpuinfo: str | None, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(cpuinfo, encoding="utf-8")
    monkeypatch.setattr(hardware, "CPUINFO", file)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm")
    assert own_hardware(CPU).processor == name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_named() -> None:
    result = own_hardware(torch.device("cuda", 0))
    assert result.gpus == 1
    assert result.device == torch.cuda.get_device_properties(0).name
