import errno
import json
import os
from pathlib import Path

import pytest

from reports.errors import ReportError
from reports.folder import folder_problems, replaced_report


def write(out: Path, **files: str) -> None:
    """Write a report of the files, each NAME.md, and those of every report."""
    with replaced_report(out) as folder:
        for name, content in {"index.html": "page", "tables.tex": "document", **files}.items():
            (folder / (name if "." in name else f"{name}.md")).write_text(content, encoding="utf-8")


def write_half(out: Path, error: BaseException) -> None:
    """Write one file of a report, and fail."""
    with replaced_report(out) as folder:
        (folder / "ablation.md").write_text("second", encoding="utf-8")
        raise error


def files(out: Path) -> dict[str, str]:
    """The files of a folder, without the list of a report."""
    return {path.name: path.read_text(encoding="utf-8") for path in out.iterdir() if path.name != "report-files.json"}


PAGE = {"index.html": "page", "tables.tex": "document"}


def test_a_second_report_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    write(tmp_path / "out", ablation="first", classes_meld="first")
    write(tmp_path / "out", ablation="second")
    assert files(tmp_path / "out") == {**PAGE, "ablation.md": "second"}


def test_files_of_the_user_stay(tmp_path: Path) -> None:
    write(tmp_path, ablation="first", pairs="first")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "tables.pdf").write_text("of LaTeX", encoding="utf-8")
    write(tmp_path, ablation="second")
    assert files(tmp_path) == {**PAGE, "ablation.md": "second", "notes.txt": "mine", "tables.pdf": "of LaTeX"}


def test_a_file_of_the_user_in_the_way_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "ablation.md").write_text("mine", encoding="utf-8")
    with pytest.raises(ReportError, match=r"holds ablation\.md, which report-files\.json does not name"):
        write(tmp_path, ablation="second")
    assert files(tmp_path) == {"ablation.md": "mine"}


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_a_report_that_fails_leaves_the_earlier_one_whole(tmp_path: Path, error: BaseException) -> None:
    write(tmp_path, ablation="first")
    with pytest.raises(type(error)):
        write_half(tmp_path, error)
    assert files(tmp_path) == {**PAGE, "ablation.md": "first"}


def test_a_first_report_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"):
        write_half(tmp_path / "new" / "out", OSError("full"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_the_folder_of_the_report(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_half(tmp_path / "out", OSError(errno.ENOSPC, "No space left on device"))
    assert caught.value.filename == str(tmp_path / "out")


def test_what_a_killed_report_left_is_removed(tmp_path: Path) -> None:
    with replaced_report(tmp_path) as folder:
        (folder / "index.html").write_text("page", encoding="utf-8")
        name = folder.name
    (tmp_path / name).mkdir()
    (tmp_path / name / "pairs.md").write_text("half", encoding="utf-8")
    write(tmp_path, ablation="second")
    assert files(tmp_path) == {**PAGE, "ablation.md": "second"}


@pytest.mark.parametrize(
    "content", ["", "{", "[1, null]", '{"a": 1}', '["../victim.txt", "/etc/passwd", "..", "notes"]']
)
def test_a_damaged_list_removes_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "victim.txt").write_text("mine", encoding="utf-8")
    out = tmp_path / "out"
    (out / "notes").mkdir(parents=True)
    (out / "report-files.json").write_text(content, encoding="utf-8")
    write(out, ablation="second")
    assert sorted(path.name for path in out.iterdir()) == [
        "ablation.md", "index.html", "notes", "report-files.json", "tables.tex",
    ]  # fmt: skip
    assert (tmp_path / "victim.txt").exists()


def test_a_folder_that_can_take_no_report_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    assert folder_problems(file) == [f"--out {file}: is a file; give a folder."]
    assert folder_problems(file / "below")[0].startswith(f"--out {file / 'below'}: Not a directory")
    (tmp_path / "index.html").write_text("mine", encoding="utf-8")
    assert "holds index.html" in folder_problems(tmp_path)[0]
    assert folder_problems(tmp_path / "new") == []


def test_the_list_names_the_files_of_the_report(tmp_path: Path) -> None:
    write(tmp_path, ablation="first")
    names = json.loads((tmp_path / "report-files.json").read_bytes())
    assert names == ["ablation.md", "index.html", "tables.tex"]
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
