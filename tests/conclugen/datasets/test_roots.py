"""CSVs of clips in several folders, and CSVs without any label."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from conclugen.datasets.clips import ClipList
from sweeps.cli import app


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("one/a.mp4", "two/deep/b.mp4", "two/both.mp4", "one/both.mp4"):
        file = tmp_path / "all" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"video")
    return tmp_path / "all"


def listed(folders: Path, csv: str, *arguments: str) -> tuple[int, str, Path]:
    """Import a CSV with two roots; return the exit code, all output, and the clip list's file."""
    table, out = folders.parent / "own.csv", folders.parent / "own.parquet"
    table.write_text(csv, encoding="utf-8")
    roots = ["--root", str(folders / "one"), "--root", str(folders / "two")]
    result = CliRunner().invoke(app, ["manifest", "import", str(table), *roots, "--out", str(out), *arguments])
    return result.exit_code, result.output, out


def test_videos_of_several_roots_are_named_from_the_folder_that_holds_them_all(folders: Path) -> None:
    absolute = folders / "one" / "both.mp4"
    csv = f"sample_id,split,video\na,train,a.mp4\nb,train,deep/b.mp4\nc,val,{absolute}\n"
    code, output, out = listed(folders, csv)
    assert code == 0, output
    clips = ClipList.read(out)
    assert clips.header.root == str(folders)
    assert [clip.video for clip in clips] == ["one/a.mp4", "two/deep/b.mp4", str(absolute)]
    assert all(file is not None and file.is_file() for file in map(clips.file, clips))


def test_a_video_in_two_roots_and_one_in_none_are_told_with_their_lines(folders: Path) -> None:
    code, output, out = listed(folders, "sample_id,split,video\na,train,both.mp4\nb,train,none.mp4\n")
    assert (code, out.exists()) == (2, False)
    assert f"line 2: video both.mp4 lies in {folders / 'one'} and {folders / 'two'}; name it from" in output
    assert "line 3: video" in output
    assert "is not there" in output


def test_a_root_that_is_no_folder_is_named(folders: Path) -> None:
    code, output, _ = listed(folders, "sample_id,split,video\na,train,a.mp4\n", "--root", "nowhere")
    assert code == 2
    assert "--root nowhere: is no folder" in output


@pytest.mark.parametrize("arguments", [(), ("--multilabel",)])
def test_blank_labels_make_an_unlabelled_list(arguments: tuple[str, ...], folders: Path) -> None:
    code, output, out = listed(
        folders, "sample_id,split,video,labels\na,train,a.mp4,\nb,val,deep/b.mp4, \n", *arguments
    )
    assert code == 0, output
    assert "labels is blank in every row: the list is unlabelled" in output
    clips = ClipList.read(out)
    assert clips.header.labels is None
    assert [clip.labels for clip in clips] == [None, None]


def test_some_blank_labels_are_refused_as_are_all_where_classes_are_named(folders: Path) -> None:
    code, output, _ = listed(folders, "sample_id,split,video,labels\na,train,a.mp4,yes\nb,val,deep/b.mp4,\n")
    assert code == 2
    assert "line 3: labels: is blank" in output
    code, output, _ = listed(folders, "sample_id,split,video,labels\na,train,a.mp4,\n", "--classes", "no,yes")
    assert code == 2
    assert "line 2: labels: is blank" in output
