"""A sweep's output goes to its log, and messages for the user to the terminal."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sweeps.terminal import log, output_to_log

SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from sweeps.terminal import log, output_to_log
with output_to_log(Path(sys.argv[1])) as console:
    print("python")
    log("message")
    os.write(1, b"raw\\n")
    subprocess.run(["echo", "child"])
    console.print("seen")
print("after")
"""


def test_everything_but_the_console_goes_to_the_log(tmp_path: Path) -> None:
    """Python's streams, raw writes and child processes, as Ray and its C++ parts would write."""
    path = tmp_path / "logs" / "ray.log"
    result = subprocess.run([sys.executable, "-c", SCRIPT, path], capture_output=True, encoding="utf-8", check=True)
    assert result.stdout == "seen\nafter\n"
    assert result.stderr == ""
    assert set(path.read_text(encoding="utf-8").split()) == {"python", "message", "raw", "child"}


def test_output_returns_after_an_exception(tmp_path: Path) -> None:
    before = os.fstat(1).st_ino
    with suppress(RuntimeError), output_to_log(tmp_path / "log"):
        raise RuntimeError
    assert os.fstat(1).st_ino == before


def test_messages_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    log("no checkpoint")
    assert capsys.readouterr() == ("", "no checkpoint\n")
