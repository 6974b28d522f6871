"""The command line in a locale that lacks letters: files are in UTF-8 all the same, and nothing ends in a traceback."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from conclugen.features.manifest import Manifest
from conclugen.features.shards import FeatureSet
from sweeps.config import load_config

ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""An environment in which Python reads and writes text as ASCII if nothing else is said."""


def conclugen(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "sweeps", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment}, check=False)


def test_a_set_with_letters_of_any_script_is_made_and_shown(tmp_path: Path) -> None:
    names = np.array(["Überraschung", "愤怒", "joy ✓"])
    np.savez(tmp_path / "x.npz", v=np.random.default_rng(0).normal(size=(9, 2)), y=names[np.arange(9) % 3])
    out = tmp_path / "sét"
    arguments = ("features", "import", tmp_path / "x.npz", "--out", out, "--modalities", "v=v", "--labels", "y")
    made = conclugen(*arguments, **ASCII)
    assert (made.returncode, made.stderr) == (0, b"")
    content = Manifest.read(out)
    assert content.labels is not None
    assert content.labels.classes == tuple(sorted(names.tolist()))
    assert FeatureSet(out).split("train").sample_ids == [str(row) for row in range(9)]
    assert b"joy \\u2713, \\xdcberraschung, \\u6124\\u6012" in made.stdout
    shown = conclugen("features", "info", out, PYTHONIOENCODING="gbk")
    assert "joy \\u2713, \\xdcberraschung, 愤怒".encode("gbk") in shown.stdout


def test_a_configuration_is_read_as_utf8(write_config: Callable[..., Path]) -> None:
    path = write_config()
    path.write_text(path.read_text(encoding="utf-8") + "fühl: 1 # ✓\n", encoding="utf-8")
    refused = conclugen("sweep", "check", path, **ASCII)
    assert refused.returncode == 2
    assert refused.stderr.decode().startswith("error: 1 problem\n  fühl: ")


def test_reading_and_writing_never_ask_the_locale(write_config: Callable[..., Path]) -> None:
    """Python warns of each text file that is opened without an encoding."""
    path = write_config()
    code = f"from sweeps.config import load_config; load_config(__import__('pathlib').Path({str(path)!r}))"
    command = [sys.executable, "-X", "warn_default_encoding", "-W", "error::EncodingWarning:sweeps", "-c", code]
    assert subprocess.run(command, capture_output=True, encoding="utf-8", check=False).returncode == 0
    assert load_config(path).name == "tiny"
