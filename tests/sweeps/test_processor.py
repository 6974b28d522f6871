"""The CPU is named as a paper would name it."""

import platform
from pathlib import Path

import pytest

from sweeps import processor
from sweeps.processor import processor_name


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
    monkeypatch.setattr(processor, "CPUINFO", file)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm")
    assert processor_name() == name
