import platform
from pathlib import Path

import pytest
import torch

from sweeps.trial import hardware
from sweeps.trial.hardware import own_hardware

CPU = torch.device("cpu")


def test_a_cpu_has_no_gpus_and_torchs_threads() -> None:
    found = own_hardware(CPU)
    assert (found.device, found.gpus, found.workers) == ("cpu", 0, 1)
    assert found.threads == torch.get_num_threads()
    assert found.host == platform.node()


def test_every_worker_of_a_group_on_gpus_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "rank_and_size", lambda: (2, 4))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Big GPU {device.index}")
    found = own_hardware(torch.device("cuda", 3))
    assert (found.device, found.gpus, found.workers) == ("Big GPU 3", 4, 4)


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC 9654: 96\n\nmodel name\t: other\n", "AMD EPYC 9654: 96"),
        ("processor\t: 0\nBogoMIPS\t: 2000.00\n", "arm"),  # Linux names no processor of ARM's
        (None, "arm"),  # another system
    ],
)
def test_the_processor_is_named_or_at_least_its_architecture(
    cpuinfo: str | None, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(cpuinfo)
    monkeypatch.setattr(hardware, "_CPUINFO", file)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm")
    assert own_hardware(CPU).processor == name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_named() -> None:
    found = own_hardware(torch.device("cuda", 0))
    assert found.gpus == 1
    assert found.device == torch.cuda.get_device_properties(0).name
