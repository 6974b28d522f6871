"""`conclugen manifest`: output, exit codes, and no file written on bad input."""

import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conclugen.datasets.clips import ClipList
from sweeps.cli import app


def conclugen(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, which takes milliseconds; test_cli.py tests processes of their own."""
    result = CliRunner().invoke(app, ["manifest", *map(str, arguments)], prog_name="conclugen")
    return subprocess.CompletedProcess([], result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def caer(tmp_path: Path) -> Path:
    """A folder of CAER that lacks all clips of eight emotions, counted over the three splits."""
    root = tmp_path / "caer"
    emotions = {"train": 7, "validation": 4, "test": 2}
    for split, count in emotions.items():
        for emotion in ("Neutral", "Surprise", "Fear", "Sad", "Happy", "Disgust", "Anger")[:count]:
            (root / split / emotion).mkdir(parents=True)
            (root / split / emotion / "0001.avi").write_bytes(b"\0")
    return root


@pytest.mark.parametrize("command", ["voxceleb2", "caer", "meld", "mosei", "ravdess", "import", "verify"])
def test_every_subcommand_has_help(command: str) -> None:
    result = conclugen(command, "--help")
    assert (result.returncode, "Usage:" in result.stdout) == (0, True)


def test_a_clip_list_is_written_and_missing_files_are_counted_and_listed(caer: Path, tmp_path: Path) -> None:
    out = tmp_path / "caer.parquet"
    result = conclugen("caer", "--root", caer, "--out", out)
    assert (result.returncode, result.stderr) == (0, "")
    assert "13 clips of caer" in result.stdout
    assert "Missing: 8 files" in result.stdout
    assert "  validation/Happy/*.avi\n" in result.stdout
    assert "  and 3 more\n" in result.stdout
    missing = (tmp_path / "caer.parquet.missing.txt").read_text(encoding="utf-8").splitlines()
    assert len(missing) == 8
    assert missing[-1] == "test/Anger/*.avi"
    clips = ClipList.read(out)
    assert (clips.header.dataset, clips.header.root, len(clips)) == ("caer", str(caer), 13)


def test_existing_files_are_not_replaced(caer: Path, tmp_path: Path) -> None:
    out = tmp_path / "caer.parquet"
    out.write_text("mine", encoding="utf-8")
    result = conclugen("caer", "--root", tmp_path / "none", "--out", out)
    assert result.returncode == 2
    assert result.stderr.startswith("error: 2 problems\n")
    assert (out.read_text(encoding="utf-8"), sorted(path.name for path in tmp_path.iterdir())) == (
        "mine",
        ["caer", "caer.parquet"],
    )


@pytest.mark.parametrize("dataset", ["voxceleb2", "caer", "meld", "mosei", "ravdess"])
def test_an_empty_folder_is_bad_input(dataset: str, tmp_path: Path) -> None:
    root = tmp_path / "empty"
    root.mkdir()
    result = conclugen(dataset, "--root", root, "--out", tmp_path / "x.parquet")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == [root]


def test_a_list_of_videos_that_are_not_there_is_refused_unless_they_are_to_come(tmp_path: Path) -> None:
    table, out = tmp_path / "own.csv", tmp_path / "own.parquet"
    table.write_text(
        "sample_id,split,video,labels\na,train,a.mp4,joy\nb,test,b.mp4,anger\nc,test,c.mp4,joy\n", encoding="utf-8"
    )
    (tmp_path / "a.mp4").write_bytes(b"\0")
    (tmp_path / "c.mp4").touch()
    arguments = ("import", table, "--root", tmp_path, "--out", out, "--classes", "joy, anger")
    refused = conclugen(*arguments)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "error: 3 problems",
        f"  {table}: line 3: video {tmp_path / 'b.mp4'} is not there.",
        f"  {table}: line 4: video {tmp_path / 'c.mp4'} is empty (0 bytes).",
        f"  {table}: correct --root or the column video (folders are separated by /), "
        "or list files that are still to come with --allow-missing.",
    ]
    assert not out.exists()
    imported = conclugen(*arguments, "--allow-missing")
    assert (imported.returncode, imported.stderr) == (0, "")
    refused = conclugen("verify", out)
    assert refused.returncode == 2
    assert f"row 2: video {tmp_path / 'b.mp4'} is not there" in refused.stderr
    assert f"  {out}: give the videos' folder by --root (now {tmp_path}), or make the list again." in refused.stderr
    assert "--root none: is no folder" in conclugen("verify", out, "--root", "none").stderr
    for name in ("b.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(b"\0")
    verified = conclugen("verify", out)
    assert (verified.returncode, verified.stderr) == (0, "")
    assert imported.stdout == f"{verified.stdout}{table} was read as UTF-8.\n"


def test_of_many_missing_videos_the_first_ten_are_named(tmp_path: Path) -> None:
    table = tmp_path / "own.csv"
    table.write_text("sample_id,split,video\n" + "".join(f"s{i},train,{i}.mp4\n" for i in range(30)), encoding="utf-8")
    result = conclugen("import", table, "--root", tmp_path, "--out", tmp_path / "own.parquet")
    lines = result.stderr.splitlines()
    assert (result.returncode, len(lines)) == (2, 1 + 10 + 2)
    assert lines[10].startswith(f"  {table}: line 11: video")
    assert lines[11] == f"  {table}: 30 of 30 clips lack their video; these are the first."


def test_files_that_are_not_used_are_counted_and_named(caer: Path, tmp_path: Path) -> None:
    (caer / "train" / "Fear" / "no\ntes\u2028.txt").touch()
    (caer / "train" / "Fear" / os.fsdecode(b"caf\xe9.avi")).write_bytes(b"\0")
    (caer / "train" / "Fear" / "2.avi").touch()
    result = conclugen("caer", "--root", caer, "--out", tmp_path / "caer.parquet")
    assert result.returncode == 0
    account = tmp_path / "caer.parquet.left_out.txt"
    assert account.read_text(encoding="utf-8").split("\n") == [
        r"a name that is not UTF-8: train/Fear/caf\udce9.avi",
        "empty (0 bytes): train/Fear/2.avi",
        r"no video by the ending of its name: train/Fear/no\ntes\u2028.txt",
        "",
    ]
    assert f"Left out: 3, listed in {account}:\n  1: a name that is not UTF-8\n    train/Fear/caf" in result.stdout


def test_a_list_without_training_clips_is_refused_with_what_is_missing_and_left_out(caer: Path, tmp_path: Path) -> None:
    for file in (caer / "train").glob("*/*.avi"):
        file.write_bytes(b"")
    result = conclugen("caer", "--root", caer, "--out", tmp_path / "caer.parquet")
    assert result.returncode == 2
    assert result.stderr.splitlines()[1:] == [
        "  split: no clip is 'train'; the standardisation of features needs training clips.",
        "  missing: 15 (files), such as train/Neutral/*.avi.",
        "  left out: 7 (empty (0 bytes)), such as train/Neutral/0001.avi.",
    ]


def test_an_empty_split_is_shown_with_no_clips(tmp_path: Path) -> None:
    table = tmp_path / "own.csv"
    table.write_text("sample_id,split,transcript,labels\na,train,x,joy\nb,test,y,fear\n", encoding="utf-8")
    result = conclugen("import", table, "--root", tmp_path, "--out", tmp_path / "own.parquet")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if "│" in line]
    assert rows == [["clips", "1", "0", "1"], ["fear", "0", "0", "1"], ["joy", "1", "0", "0"]]


def test_imported_clips_must_keep_the_rules_of_clip_lists(tmp_path: Path) -> None:
    table, out = tmp_path / "own.csv", tmp_path / "own.parquet"
    table.write_text("sample_id,split,video,start,end\na,train,a.mp4,3,2\na,no,b.mp4,,\n", encoding="utf-8")
    result = conclugen("import", table, "--root", tmp_path, "--out", out)
    assert result.returncode == 2
    assert result.stderr.splitlines()[1:] == [
        f"  {table}: sample_id: the same in lines 2, 3 ('a'); make them unique.",
        f"  {table}: split: none of train, val, test in line 3 ('no'); "
        "correct it; a list that has folds has them everywhere.",
        f"  {table}: end: not after the start in line 2 (2.0); correct one of the two.",
        f"  {table}: line 2: video {tmp_path / 'a.mp4'} is not there.",
        f"  {table}: line 3: video {tmp_path / 'b.mp4'} is not there.",
        f"  {table}: correct --root or the column video (folders are separated by /), "
        "or list files that are still to come with --allow-missing.",
    ]
    assert not out.exists()


def test_groups_of_imported_clips_are_counted(tmp_path: Path) -> None:
    table, out = tmp_path / "own.csv", tmp_path / "own.parquet"
    rows = "a,train,hi,Ann,7\nb,train,ho,Ann,7\nc,val,ha,Bob,8\nd,test,he,Cid,8\n"
    table.write_text(f"sample_id,split,transcript,speaker,group:scene\n{rows}", encoding="utf-8")
    result = conclugen("import", table, "--root", tmp_path, "--out", out)
    assert (result.returncode, "Groups: 3 by speaker, 2 by scene.\n" in result.stdout) == (0, True)
    assert "Groups: 3 by speaker, 2 by scene.\n" in conclugen("verify", out).stdout


def test_cells_rules_and_absent_videos_are_listed_together(tmp_path: Path) -> None:
    table, out = tmp_path / "own.csv", tmp_path / "own.parquet"
    table.write_text("sample_id,split,video,labels\na,trian,a.mp4,joy\nb,train,b.mp4,\n", encoding="utf-8")
    result = conclugen("import", table, "--root", tmp_path, "--out", out, "--classes", "joy,fear")
    assert (result.returncode, out.exists()) == (2, False)
    assert [line.removeprefix(f"  {table}: ").partition(";")[0] for line in result.stderr.splitlines()] == [
        "error: 5 problems",
        "line 3: labels: is blank",
        "split: none of train, val, test in line 2 ('trian')",
        f"line 2: video {tmp_path / 'a.mp4'} is not there.",
        f"line 3: video {tmp_path / 'b.mp4'} is not there.",
        "correct --root or the column video (folders are separated by /), or list files that are still to come with "
        "--allow-missing.",
    ]


def test_a_folder_is_no_clip_list_to_be_written(caer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(caer)
    for folder in (".", "..", caer / "train"):
        result = conclugen("caer", "--root", ".", "--out", folder)
        assert (result.returncode, result.stderr) == (
            2,
            f"error: 1 problem\n  --out {folder}: is a folder; give a file that does not exist yet.\n",
        )
