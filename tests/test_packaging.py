"""Tests of the wheel: all other tests run on an editable install, which would hide files that the wheel lacks."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import yaml

from conclugen import __version__

ROOT = Path(__file__).parent.parent
PACKAGES = ("conclugen", "search_spaces", "sweeps", "reports")


def test_the_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    with zipfile.ZipFile(_build("build_wheel", tmp_path)) as archive:
        packaged = {name for name in archive.namelist() if name.split("/")[0] in PACKAGES}
    files = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not {"__pycache__", "examples"} & set(path.parts)
    }
    assert packaged == files


def test_a_folder_with_the_name_of_a_package_does_not_hide_it_in_an_editable_install(tmp_path: Path) -> None:
    with zipfile.ZipFile(_build("build_editable", tmp_path)) as archive:
        (file,) = [name for name in archive.namelist() if name.endswith(".pth")]
        assert archive.read(file).decode().strip() == str(tmp_path / "source")
    (tmp_path / "work" / "reports").mkdir(parents=True)
    code = "import reports; print(reports.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "source")}
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "work",
        env=environment,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    assert found.stdout.strip() == str(tmp_path / "source" / "reports" / "__init__.py")


def _build(kind: str, folder: Path) -> Path:
    """Build a wheel of this kind in ``folder``, from a copy of the packages."""
    source = folder / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = f"from setuptools import build_meta; build_meta.{kind}({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_citation_has_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["cff-version"] == "1.2.0"
