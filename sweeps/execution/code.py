"""The files of this project: workers import those that this process has imported, or nothing runs.

Ray puts the working directory of the process that joins a cluster first on the search path of its workers. So a copy of
`conclugen` there, or a file `random.py`, would be imported in place of the right one. :func:`right_search_path` keeps
it away. Nothing but a comparison finds what else may differ: a `PYTHONPATH` of somebody else's Ray, another
installation on another machine, files that were edited after the sweep had started.

Rejected: a runtime environment of Ray with a `working_dir`. Each process of a slot would take a second more to start.

This module imports the standard library only. `sweeps.execution.preflight` sends its functions by value, because a
process with the wrong files cannot be trusted to import the check.
"""

import contextlib
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["PACKAGES", "Code", "Origin", "answer", "change", "code_here", "differences", "origin", "right_search_path"]

PACKAGES = ("conclugen", "search_spaces", "sweeps")
"""The packages that run on nodes."""

Code = Mapping[str, tuple[str, Mapping[str, str]]]
"""Package -> its place (a folder, or the file of a module), and the checksum of each Python and YAML file there."""

Origin = Mapping[str, tuple[str, str]]
"""Package -> its place, and one checksum of all its files."""

_PATHS = ("RAY_TMPDIR", "TMPDIR", "RAY_AUTH_TOKEN_PATH", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")


def code_here(packages: Sequence[str] = PACKAGES) -> Code:
    """Return the files of ``packages`` that this process imports; a package that it does not find is left out."""
    code: dict[str, tuple[str, Mapping[str, str]]] = {}
    for package in packages:
        try:
            spec = find_spec(package)
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            continue
        if spec.submodule_search_locations is None:
            file = Path(spec.origin or "")
            code[package] = str(file), {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}
            continue
        root = Path(next(iter(spec.submodule_search_locations)))
        files = sorted(file for file in root.rglob("*") if file.suffix in (".py", ".yaml"))
        checksums = {file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        code[package] = str(root), checksums
    return code


def differences(expected: Code, actual: Code) -> list[str]:
    """Return how ``actual`` differs from ``expected``, one text per package; both places are named."""
    texts: list[str] = []
    for package, (place, files) in expected.items():
        if package not in actual:
            texts.append(f"{package} is missing, which this process imports from {place}")
            continue
        other, others = actual[package]
        names = sorted(name for name in {*files, *others} if files.get(name) != others.get(name))
        if names:
            more = f" and {len(names) - 1} more files" if len(names) > 1 else ""
            texts.append(f"{package} from {other} is not {package} from {place}: {names[0]}{more} differ")
    return texts


def answer(expected: Code, question: str = "", *arguments: Any) -> Any:
    """Compare this process's code with ``expected``, and only then import and call a function of it.

    Args:
        expected: the code of the process that asks.
        question: a function, as ``module:name``; empty for none.
        arguments: the function's.

    Returns:
        A list of :func:`differences`, or what the function returns, or None without a function.
    """
    if texts := differences(expected, code_here(tuple(expected))):
        return texts
    module, _, name = question.partition(":")
    return getattr(import_module(module), name)(*arguments) if question else None


def origin(code: Code) -> Origin:
    """Return ``code`` in short."""
    return {
        package: (place, hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16])
        for package, (place, files) in code.items()
    }


def change(expected: Origin) -> str | None:
    """Return how the files that this process imports differ from ``expected``; None if they are the same."""
    actual = origin(code_here(tuple(expected)))
    for package, (place, checksum) in expected.items():
        other, found = actual.get(package, ("nowhere", ""))
        if found != checksum:
            return f"{package} from {other} is not what {package} from {place} was when the run started"
    return None


@contextlib.contextmanager
def right_search_path() -> Iterator[None]:
    """Have Ray, when it is joined in the body, give workers the search path of this process.

    Ray puts the working directory in front. In the body, this is a folder that hides nothing: the standard library, or
    the folder of our packages where that comes first in this process, too.
    """
    for name in _PATHS:
        if value := os.environ.pop(name, ""):  # an empty variable would mean the working directory
            os.environ[name] = os.path.abspath(value)
    if entries := os.environ.get("PYTHONPATH"):
        os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, entries.split(os.pathsep)))
    with contextlib.chdir(_first_folder()):
        yield


def _first_folder() -> Path:
    library = Path(sysconfig.get_path("stdlib")).resolve()
    ours = Path(__file__).resolve().parents[2]
    for entry in sys.path:
        if (folder := Path(entry).resolve()) in (library, ours):
            return folder
    return library
