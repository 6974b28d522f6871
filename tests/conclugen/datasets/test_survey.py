"""What lies below a dataset's folder: which endings are videos, odd folders, and files that cannot be read."""

import errno
import os
from pathlib import Path

import av
import pytest

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.datasets.survey import VIDEO_SUFFIXES, Survey, missing_files


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_extraction_can_open_each_kind_of_video(suffix: str) -> None:
    """FFmpeg knows a format by its own name; these are the names of the formats behind the endings."""
    formats = {
        ".mov": "mov", ".m4v": "m4v", ".mp4": "mp4", ".3gp": "3gp", ".mkv": "matroska", ".webm": "webm", ".mpg": "mpeg",
        ".mpeg": "mpeg", ".vob": "mpeg", ".wmv": "asf", ".asf": "asf", ".ogv": "ogg", ".ts": "mpegts",
        ".mts": "mpegts", ".m2ts": "mpegts", ".avi": "avi", ".flv": "flv", ".mxf": "mxf",
    }  # fmt: skip
    assert formats[suffix] in av.formats_available


def test_the_walk_takes_each_folder_once_whatever_links_lead_to_it(tmp_path: Path) -> None:
    (tmp_path / "data" / "inner").mkdir(parents=True)
    (tmp_path / "data" / "inner" / "a.mp4").touch()
    (tmp_path / "data" / "inner" / "up").symlink_to(tmp_path)
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data" / "inner")
    assert [entry.name for entry in Survey(tmp_path).walk()] == ["a.mp4"]


def test_a_part_is_found_below_folders_that_archives_added(tmp_path: Path) -> None:
    (tmp_path / "vox2" / "Dev" / "MP4").mkdir(parents=True)
    assert Survey(tmp_path).find("dev/mp4", holds="speakers") == tmp_path / "vox2" / "Dev" / "MP4"
    (tmp_path / "dev" / "mp4").mkdir(parents=True)
    assert Survey(tmp_path).find("dev/mp4", holds="speakers") == tmp_path / "dev" / "mp4"


def test_a_part_is_not_looked_for_further_down(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c" / "train").mkdir(parents=True)
    with pytest.raises(ClipListError, match="has no folder train, which holds emotions"):
        Survey(tmp_path).find("train", holds="emotions")


def test_relative_videos_are_looked_up_in_the_root_and_absolute_ones_at_their_path(tmp_path: Path) -> None:
    present, absent = tmp_path / "present.mp4", tmp_path / "absent.mp4"
    present.write_bytes(b"\0")
    videos = ("present.mp4", "absent.mp4", str(present), None)
    clips = [Clip(sample_id=str(index), video=video) for index, video in enumerate(videos)]
    assert missing_files(clips, tmp_path) == [(1, absent, "not there")]
    assert [row for row, _, _ in missing_files(clips, tmp_path / "elsewhere")] == [0, 1]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("empty", "empty (0 bytes)"),
        ("folder", "no file"),
        ("link", "a link to nothing"),
        ("loop", "not to be read (Too many levels of symbolic links)"),
        ("absent", "not there"),
    ],
)
def test_a_video_that_cannot_be_read_is_told_with_its_fault(tmp_path: Path, kind: str, fault: str) -> None:
    file = tmp_path / "a.mp4"
    if kind == "empty":
        file.touch()
    elif kind == "folder":
        file.mkdir()
    elif kind != "absent":
        file.symlink_to("gone.mp4" if kind == "link" else "a.mp4")
    assert missing_files([Clip(sample_id="a", video="a.mp4")], tmp_path) == [(0, file, fault)]


def test_a_file_that_the_user_may_not_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The superuser may read everything, so the system's answer is planted."""
    for name, mode in (("mine.mp4", 0o600), ("all.mp4", 0o644)):
        (tmp_path / name).write_bytes(b"\0")
        (tmp_path / name).chmod(mode)
    monkeypatch.setattr(os, "access", lambda file, mode: False)
    survey = Survey(tmp_path)
    assert list(survey.videos(tmp_path, ".mp4")) == ["all"]
    assert survey.left_out == {"not to be read (Permission denied)": ["mine.mp4"]}


def test_a_folder_that_the_user_may_not_read_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ClipListError, match=f"{tmp_path}: cannot be read: Permission denied; give yourself the right"):
        list(Survey(tmp_path).walk())


def test_a_folder_beside_the_dataset_that_cannot_be_read_does_not_hinder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "CAER" / "train").mkdir(parents=True)
    (tmp_path / "private").mkdir()
    scan = os.scandir

    def refuse_private(folder: Path) -> object:
        if folder.name == "private":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse_private)
    survey = Survey(tmp_path)
    assert survey.find("train", holds="emotions") == tmp_path / "CAER" / "train"
    assert survey.left_out == {"a folder that cannot be read": ["private"]}
