"""The folder of a report: a later report replaces the files of an earlier one, and no other file.

A report writes its files into a subfolder, and moves them when all are there. So a report that fails, is interrupted or
finds the disk full leaves the earlier one whole. A list beside the files names them. A next report removes those that
it does not write itself, such as tables of other labelled sets. Emptying the folder was rejected: users keep their own
files there, and LaTeX writes there, too.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from conclugen.files.durable import sync_folder, write_whole
from reports.errors import ReportError

__all__ = ["folder_problems", "replaced_report"]

_LIST = "report-files.json"
_PARTIAL = ".report.partial"
_ALWAYS = ("index.html", "tables.tex")  # files of every report


def folder_problems(out: Path) -> list[str]:
    """Return a message for each reason why no report can be written into ``out``.

    Args:
        out: folder for a report; it may be missing.
    """
    try:
        if out.exists() and not out.is_dir():
            return [f"--out {out}: is a file; give a folder."]
        return _foreign(out, _ALWAYS)
    except OSError as error:
        return [f"--out {out}: {error.strerror}; give a folder that you may write to."]


@contextmanager
def replaced_report(out: Path) -> Iterator[Path]:
    """Yield an empty folder to write a report into, whose files then replace the earlier report in ``out``.

    Args:
        out: folder of the report; it is made if missing. If writing fails, it is as it was before.

    Raises:
        ReportError: a file in the way is not of a report.
        OSError: the folder cannot be written to.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    partial = out / _PARTIAL
    try:
        if partial.exists():  # of a report that was killed
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        yield partial
        _replace(partial, out)
    except OSError as error:
        hidden = error.filename is None or partial in Path(error.filename).parents
        if hidden and error.errno is not None:  # the user knows the folder only
            error.filename = str(out)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):  # a folder with files stays
            for folder in made:
                folder.rmdir()


def _replace(partial: Path, out: Path) -> None:
    names = sorted(path.name for path in partial.iterdir())
    if problems := _foreign(out, names):
        raise ReportError("\n".join(problems))
    former = _listed(out)
    # The list names every file that may be there, so that whatever happens now, the next report removes them.
    _write_list(out, {*former, *names})
    for name in names:
        (partial / name).replace(out / name)
    for name in former - set(names):
        (out / name).unlink(missing_ok=True)
    sync_folder(out)
    _write_list(out, set(names))


def _foreign(out: Path, names: Sequence[str]) -> list[str]:
    """Return a message if files that a report would replace are not of a report."""
    former = _listed(out)
    foreign = [name for name in names if (out / name).exists() and name not in former]
    if not foreign:
        return []
    shown = ", ".join([*foreign[:3], *(["..."] if len(foreign) > 3 else [])])
    return [
        f"--out {out}: holds {shown}, which {_LIST} does not name as files of a report; give another folder, or remove "
        "them."
    ]


def _listed(out: Path) -> set[str]:
    """Return the names of the earlier report's files; none if there is no readable list."""
    try:
        names = json.loads((out / _LIST).read_bytes())
    except (FileNotFoundError, ValueError):
        return set()
    if not isinstance(names, list):
        return set()
    return {name for name in names if isinstance(name, str) and Path(name).name == name and not (out / name).is_dir()}


def _write_list(out: Path, names: set[str]) -> None:
    write_whole(out / _LIST, json.dumps(sorted(names), indent=1).encode())
