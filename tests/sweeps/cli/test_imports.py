"""`conclugen features import` of files in the layouts of others: what it prints, writes and refuses."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner, Result

from conclugen.features.manifest import Manifest
from conclugen.features.shards import FeatureSet
from conclugen.features.verification import verify
from sweeps.cli import app

RNG = np.random.default_rng(0)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["features", "import", *map(str, arguments)])


def words(output: str) -> list[str]:
    """The lines of a table without its frame and its runs of spaces."""
    return [" ".join(line.translate({ord(mark): " " for mark in "│┃"}).split()) for line in output.splitlines()]


def _clips(root: Path) -> Path:
    """Two modalities of 12 clips and their labels; a clip lacks audio, another one its label."""
    for name, width in (("video", 4), ("audio", 3)):
        (root / "features" / name).mkdir(parents=True)
        for row in range(12):
            if (name, row) != ("audio", 3):
                np.save(root / "features" / name / f"clip{row:02d}.npy", RNG.normal(size=(row % 3 + 1, width)))
    emotions = ["joy", "anger"] * 6
    emotions[5] = ""
    parts = ["train"] * 8 + ["dev"] * 2 + ["test"] * 2
    frame = pd.DataFrame({"name": [f"clip{row:02d}.mp4" for row in range(12)], "emotion": emotions, "split": parts})
    frame.to_csv(root / "labels.csv", index=False)
    return root


def test_a_set_is_written_and_what_is_left_out_is_listed(tmp_path: Path) -> None:
    root = _clips(tmp_path / "data")
    result = run(root / "features", root / "labels.csv", "--out", tmp_path / "set")
    assert result.exit_code == 0, result.output
    manifest = Manifest.read(tmp_path / "set")
    assert manifest.widths == {"audio": 3, "video": 4}
    assert [manifest.rows(split) for split in ("train", "val", "test")] == [6, 2, 2]
    account = tmp_path / "set.left_out.txt"
    assert sorted(account.read_text("utf-8").splitlines()) == ["no audio: clip03", "no label: clip05"]
    assert f"Left out: 2 rows, listed in {account}." in result.output
    assert verify(tmp_path / "set", shared=[]).problems == []
    again = run(root / "features", root / "labels.csv", "--out", tmp_path / "set")
    assert again.exit_code == 2
    assert "already holds a feature set" in again.output
    assert f"{account}: exists, from an earlier import" in again.output


def test_incomplete_rows_are_kept_on_request_and_listed(tmp_path: Path) -> None:
    root = _clips(tmp_path / "data")
    arguments = (root / "features", root / "labels.csv", "--out", tmp_path / "set", "--keep-incomplete")
    dry = run(*arguments, "--dry-run")
    assert "ids 11 rows with some modalities at least, such as clip00, clip01, clip02" in words(dry.output)
    assert "Kept with gaps: 1 row: no audio (clip03)" in words(dry.output)
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    manifest = Manifest.read(tmp_path / "set")
    assert manifest.rows_by_modalities("train") == {"audio+video": 6, "video": 1}
    assert manifest.rows_by_modalities("test") == {"audio+video": 2}
    assert (tmp_path / "set.left_out.txt").read_text("utf-8") == "no label: clip05\n"
    assert (tmp_path / "set.incomplete.txt").read_text("utf-8") == "no audio: clip03\n"
    assert f"Kept with gaps: 1 row, listed in {tmp_path / 'set.incomplete.txt'}." in result.output
    assert "train 7 rows: 6 audio+video, 1 video" in words(result.output)
    split = FeatureSet(tmp_path / "set").split("train")
    row = split.sample_ids.index("clip03")
    assert split.present["audio"].tolist() == [number != row for number in range(7)]
    expected = np.load(root / "features" / "video" / "clip03.npy").mean(axis=0)
    np.testing.assert_allclose(split.gather("video", torch.tensor([row]))[0], expected, rtol=1e-6)
    assert verify(tmp_path / "set", shared=[]).problems == []
    assert f"{tmp_path / 'set.incomplete.txt'}: exists, from an earlier import" in run(*arguments).output


def test_values_that_are_not_finite_become_gaps(tmp_path: Path) -> None:
    """The arrays of one file have no identifiers to join by; NaN may say what rows lack."""
    arrays = {name: RNG.normal(size=(6, width)).astype("f4") for name, width in (("video", 4), ("audio", 3))}
    arrays["audio"][[1, 4]] = np.nan
    arrays["video"][4] = np.nan
    np.savez(tmp_path / "own.npz", **arrays, split=["train"] * 6)
    arguments = (tmp_path / "own.npz", "--modalities", "video=video,audio=audio", "--split", "split")
    refused = run(*arguments, "--out", tmp_path / "set", "--keep-incomplete")
    assert refused.exit_code == 2
    assert "--non-finite drop (these rows lack the modality)" in " ".join(refused.output.split())
    assert not (tmp_path / "set").exists()
    kept = run(*arguments, "--out", tmp_path / "set", "--keep-incomplete", "--non-finite", "drop")
    assert kept.exit_code == 0, kept.output
    assert Manifest.read(tmp_path / "set").rows_by_modalities("train") == {"video+audio": 4, "video": 1}
    assert "holds NaN" in (tmp_path / "set.left_out.txt").read_text("utf-8")
    dropped = run(*arguments, "--out", tmp_path / "dropped", "--non-finite", "drop")
    assert dropped.exit_code == 0, dropped.output
    assert Manifest.read(tmp_path / "dropped").rows_by_modalities("train") == {"video+audio": 4}


def test_a_dry_run_prints_what_was_understood_and_writes_nothing(tmp_path: Path) -> None:
    root = _clips(tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    result = run(root / "features", root / "labels.csv", "--out", tmp_path / "set", "--dry-run")
    assert result.exit_code == 0, result.output
    assert sorted(tmp_path.rglob("*")) == before
    lines = words(result.output)
    assert "features clips: folders of .npy files: audio, video; 12 rows" in lines
    assert (
        "audio audio:audio 11 arrays of width 3, 1 to 3 frames; mean over true frames (each array's own); width 3"
        in lines
    )
    assert "ids 10 rows with everything, such as clip00, clip01, clip02" in lines
    assert [line for line in lines if line.startswith(("class", "anger", "joy", "all"))] == [
        "class train val test",
        "anger 2 1 1",
        "joy 4 1 1",
        "all 6 2 2",
    ]
    assert "Left out: 1 row: no audio (clip03)" in lines
    assert lines[-1] == "Nothing was written (--dry-run)."


def test_questions_and_problems_come_together_and_nothing_is_written(tmp_path: Path) -> None:
    root = _clips(tmp_path / "data")
    (root / "bad.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    (root / "two.csv").write_text("left,right,f0\na,x,1\n", "utf-8")
    result = run(root / "features", root / "bad.pkl", root / "two.csv", root / "none.csv", "--out", tmp_path / "set")
    assert result.exit_code == 2
    assert [line.strip().removeprefix(str(root)) for line in result.stderr.splitlines()] == [
        "error: 3 problems",
        "/bad.pkl asks for os.system, which is neither a container, a number, a string nor an array; nothing was "
        "executed.",
        "/two.csv: names of clips may be in column 'left', 'right'; give --ids COLUMN.",
        "/none.csv is not there; give a file or folder of features.",
    ]
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--format", "mmas"), "Did you mean mmsa?"),
        (("--format", "mmsa", "--dtype", "f4"), "--dtype f4: must be float32 or float16."),
        (("--split-map", "test1"), "'test1' is not of the form PART=SPLIT"),
        (("--label-map", "mosi-9"), "name values, such as '0=neutral,1=happy'"),
        (("--modalities", "video"), "'video' is not of the form name=key"),
        (("--pool", "median"), "'median' is not one of"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options: tuple[str, ...], expected: str) -> None:
    root = _clips(tmp_path / "data")
    result = run(root / "features", root / "labels.csv", "--out", tmp_path / "set", *options)
    assert result.exit_code == 2
    assert expected in result.output
    assert not (tmp_path / "set").exists()


def test_a_pickle_of_mmsa_becomes_a_set(tmp_path: Path) -> None:
    data: dict[str, Any] = {
        part: {
            "id": [f"{part}$_${row}" for row in range(rows)],
            "audio": RNG.normal(size=(rows, 6, 3)),
            "audio_lengths": [row % 6 + 1 for row in range(rows)],
            "vision": RNG.normal(size=(rows, 4)),
            "regression_labels": np.resize([-1.2, 0.4], rows),
        }
        for part, rows in (("train", 8), ("valid", 4), ("test", 4))
    }
    (tmp_path / "unaligned.pkl").write_bytes(pickle.dumps(data))
    result = run(
        tmp_path / "unaligned.pkl", "--out", tmp_path / "set", "--label-map", "mosi-2", "--pool", "mean_std",
        "--speakers", "video",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    manifest = Manifest.read(tmp_path / "set")
    assert manifest.widths == {"audio": 6, "vision": 4}
    assert manifest.labels is not None
    assert (manifest.labels.classes, manifest.speakers) == (("negative", "non-negative"), True)
    assert not (tmp_path / "set.left_out.txt").exists()
