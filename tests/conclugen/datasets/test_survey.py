"""What lies below a dataset's folder: which endings are videos, and folders that are odd."""

from pathlib import Path

import av
import pytest

from conclugen.datasets.clips import ClipListError
from conclugen.datasets.survey import VIDEO_SUFFIXES, Survey


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
