"""Commands that start Ray where no Ray can be started or joined: one message, exit code 2, and nothing written."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from conclugen.datasets.clips import Clip, ClipList
from conclugen.features.manifest import Labels
from sweeps.cli import app
from tests.conclugen.extraction import models


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put signal handlers back that a sweep replaces for the rest of its process."""
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.fixture
def commands(write_config: Callable[..., Path], tmp_path: Path) -> dict[str, list[object]]:
    """The commands by their names, without --out."""
    clips = tmp_path / "clips.parquet"
    clip = Clip(sample_id="a", split="train", video=None, transcript="a word", labels=(0,))
    ClipList.of([clip], dataset="texts", root=tmp_path, labels=Labels(classes=("no", "yes"))).write(clips)
    models.model_folder(models.distilbert, tmp_path)
    recipe = tmp_path / "recipe.yaml"
    backbones = {"modalities": {"text": [{"model": "distilbert", "kind": "text"}]}}
    recipe.write_text(yaml.safe_dump(backbones), encoding="utf-8")
    return {
        "sweep run": ["sweep", "run", write_config()],
        "extract": ["extract", clips, "--backbones", recipe],
        "demo": ["demo"],
    }


@pytest.mark.parametrize("command", ["sweep run", "extract", "demo"])
@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("RAY_ADDRESS", "foo", "RAY_ADDRESS=foo: no Ray cluster there that this process can join: an address is"),
        ("RAY_TMPDIR", "/dev/null", "Ray's files and logs go to /dev/null/ray (RAY_TMPDIR): set RAY_TMPDIR to another"),
    ],
)
def test_each_command_that_needs_ray_says_why_there_is_none_and_leaves_nothing(
    commands: dict[str, list[object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    command: str,
    variable: str,
    value: str,
    message: str,
) -> None:
    capfd.readouterr()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv(variable, value)
    out = tmp_path / "new" / "out"
    with pytest.raises(SystemExit) as end:
        app([*map(str, commands[command]), "--out", str(out)])
    assert end.value.code == 2
    heading, problem = capfd.readouterr().err.splitlines()
    assert heading == "error: 1 problem"
    assert message in problem
    assert not out.exists()
