"""The name of this machine's CPU; the module hides where each system keeps it."""

import platform
from pathlib import Path

__all__ = ["CPUINFO", "processor_name"]

CPUINFO = Path("/proc/cpuinfo")
"""The file in which Linux names the CPU."""


def processor_name() -> str:
    """Return the CPU's name, or its architecture where the system has no name for it."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # only Linux has this file
        lines = []
    entries = (line.partition(":") for line in lines)
    names = (value.strip() for name, _, value in entries if name.strip() == "model name")
    return next(names, "") or platform.processor() or platform.machine()
