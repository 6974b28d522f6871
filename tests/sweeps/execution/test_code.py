"""Which files workers import: what is put on their search path, and what is said where files differ."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest

import sweeps
from sweeps.execution.code import PACKAGES, answer, change, code_here, differences, origin, right_search_path

ROOT = Path(sweeps.__file__).parents[1]


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of a copy of `sweeps`, which Python finds by the folder's name."""
    package = tmp_path / "copy_of_sweeps"
    shutil.copytree(Path(sweeps.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(tmp_path)
    return package


@pytest.mark.parametrize("file", ["jobs.py", "search/samplers.py", "execution/ray_internals/state.py", "new/new.py"])
def test_a_change_in_any_folder_of_the_code_is_found_and_named(package: Path, file: str) -> None:
    before = code_here([package.name])
    assert differences(before, code_here([package.name])) == []
    assert change(origin(before)) is None
    (package / file).parent.mkdir(exist_ok=True)
    with (package / file).open("a", encoding="utf-8") as source:
        source.write("\n# changed\n")
    (text,) = differences(before, code_here([package.name]))
    assert text == f"{package.name} from {package} is not {package.name} from {package}: {file} differ"
    assert change(origin(before)) == f"{package.name} from {package} is not what {package.name} from {package} was" + (
        " when the run started"
    )


def test_compiled_files_do_not_count_as_code(package: Path) -> None:
    before = code_here([package.name])
    (package / "search" / "__pycache__").mkdir()
    (package / "search" / "__pycache__" / "samplers.pyc").write_bytes(b"x")
    assert code_here([package.name]) == before


def test_the_code_is_every_package_that_runs_on_nodes() -> None:
    assert {name: place for name, (place, _) in code_here().items()} == {name: str(ROOT / name) for name in PACKAGES}
    assert "evaluation/metrics.py" in code_here()["conclugen"][1]


def test_code_in_another_place_is_the_same_code_if_its_files_are() -> None:
    code = code_here(["conclugen"])
    assert differences({"conclugen": ("/elsewhere/conclugen", code["conclugen"][1])}, code) == []


def test_a_package_that_is_missing_or_a_file_is_named_with_both_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stray.py").write_text("x = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    expected = {"stray": ("/good/stray", {"__init__.py": "0", "jobs.py": "1"}), "absent": ("/good/absent", {})}
    assert differences(expected, code_here(tuple(expected))) == [
        f"stray from {tmp_path}/stray.py is not stray from /good/stray: __init__.py and 2 more files differ",
        "absent is missing, which this process imports from /good/absent",
    ]


def test_a_process_with_other_code_imports_none_of_it(package: Path) -> None:
    expected = code_here([package.name])
    (package / "__init__.py").write_text("raise AssertionError('imported')\n", encoding="utf-8")
    assert answer(expected, f"{package.name}.jobs:Job") == differences(expected, code_here([package.name]))


def test_a_process_with_the_same_code_answers() -> None:
    assert answer(code_here(), "sweeps.execution.code:code_here", ["conclugen"]) == code_here(["conclugen"])
    assert answer(code_here()) is None


SCRIPT = """
import os, sys
from sweeps.execution.code import right_search_path
with right_search_path():
    print(os.getcwd())
print(os.getcwd())
"""


def folder_of_workers(cwd: Path, arguments: Sequence[str], **environment: str) -> Path:
    """The folder that Ray puts first on the workers' search path, for a driver that is started in ``cwd``."""
    command = [sys.executable, *arguments]
    result = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, encoding="utf-8", check=True
    )
    inside, after = result.stdout.split()
    assert Path(after).samefile(cwd)
    return Path(inside)


@pytest.fixture
def stray(tmp_path: Path) -> Path:
    """A folder with what must not be imported: a copy of a package of ours, and files with the names of others."""
    (tmp_path / "conclugen" / "evaluation").mkdir(parents=True)
    (tmp_path / "conclugen" / "__init__.py").write_text("raise AssertionError('a copy')\n", encoding="utf-8")
    for name in ("sweeps", "random", "yaml"):
        (tmp_path / f"{name}.py").write_text(f"raise AssertionError({name!r})\n", encoding="utf-8")
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "conclugen").write_text(SCRIPT, encoding="utf-8")
    return tmp_path


LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()


def test_workers_of_an_installed_command_search_no_working_directory(stray: Path) -> None:
    """Its packages come after the standard library, as in `site-packages`."""
    script = f"import sys; sys.path.append({str(ROOT)!r})\n{SCRIPT}"
    (stray / "script" / "conclugen").write_text(script, encoding="utf-8")
    assert folder_of_workers(stray, ["script/conclugen"], PYTHONPATH="") == LIBRARY


def test_workers_of_a_checkout_search_the_folder_that_the_driver_searches_first(stray: Path) -> None:
    assert folder_of_workers(stray, ["script/conclugen"], PYTHONPATH=str(ROOT)) == ROOT.resolve()
    assert folder_of_workers(ROOT, ["-c", SCRIPT], PYTHONPATH="") == ROOT.resolve()


def test_relative_paths_in_variables_of_ray_and_python_keep_their_meaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"lib{os.pathsep}/absolute")
    monkeypatch.setenv("RAY_TMPDIR", "here")
    monkeypatch.setenv("TMPDIR", "")
    with right_search_path():
        assert os.environ["PYTHONPATH"] == f"{tmp_path}/lib{os.pathsep}/absolute"
        assert os.environ["RAY_TMPDIR"] == f"{tmp_path}/here"
        assert "TMPDIR" not in os.environ
    assert Path.cwd() == tmp_path
