from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeps.cli import app


@pytest.mark.parametrize(
    "command",
    [
        "sweep run sweep.yaml --out s3://bucket/x",
        "sweep status s3://bucket/x",
        "report s3://bucket/x --out report",
        "extract clips.parquet --out s3://bucket/x --backbones paper",
        "features import x.npz --out s3://bucket/x --modalities a=a",
        "manifest caer --root s3://bucket/x --out list.parquet",
        "export run --subset Con --out s3://bucket/x",
        "demo --out s3://bucket/x",
    ],
)
def test_an_address_is_refused_where_a_local_path_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(app, command.split())
    assert refused.exit_code == 2
    assert "s3://bucket/x: is an address, and only feature sets may have one; give a path on this" in refused.stderr
    assert not list(tmp_path.iterdir())


def test_every_address_is_named() -> None:
    refused = CliRunner().invoke(app, ["report", "s3://a", "gs://b/c", "--out", "memory://d"])
    assert "error: 3 problems" in refused.stderr
    assert all(f"  {place}: is an address" in refused.stderr for place in ("s3://a", "gs://b/c", "memory://d"))


@pytest.mark.parametrize(
    ("arguments", "empty"),
    [
        (["manifest", "caer", "--root", ".", "--out", ""], ["--out"]),
        (["manifest", "caer", "--root=", "--out", " "], ["--root", "--out"]),
        (["features", "import", "x.npz", "--out", "", "--modalities", ""], ["--out", "--modalities"]),
        (["features", "info", ""], ["argument 3"]),
        (["demo", "--out="], ["--out"]),
        (["report", "", "", "--out", "r"], ["argument 2", "argument 3"]),
    ],
)
def test_an_empty_argument_does_not_mean_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], empty: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(app, arguments)
    assert (refused.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert [line.split(": is empty; ")[0].strip() for line in refused.stderr.splitlines()[1:]] == empty
