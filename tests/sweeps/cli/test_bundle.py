"""`conclugen report --bundle` and `conclugen report verify`, as users call them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from reports.bundle.archive import write_archive
from sweeps.cli import app
from sweeps.ledger import Ledger
from tests.reports.bundle.bundles import members, planted, rewrite, sweep_folder

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("reports_in_one_process")]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def problems(result: Result) -> list[str]:
    """Return the problems of a command that refused its input."""
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    return [line.strip() for line in result.stderr.splitlines()[1:]]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a planted sweep."""
    return sweep_folder(tmp_path_factory.mktemp("bundle") / "sweep", planted())


@pytest.fixture(scope="module")
def made(sweep: Path) -> Path:
    """A bundle of the sweep."""
    path = sweep.parent / "new folder" / "b.zip"
    result = run(sweep, "--out", sweep.parent / "out", "--bundle", path)
    assert result.exit_code in (0, 1), result.output
    assert f"conclugen report verify '{path}'" in result.stdout
    return path


def test_a_bundle_holds_every_file_of_the_report_and_verifies(sweep: Path, made: Path) -> None:
    names = {path.name for path in (sweep.parent / "out").iterdir()} - {"report-files.json"}
    assert {f"report/{name}" for name in names} == {name for name in members(made) if name.startswith("report/")}
    result = run("verify", made)
    assert result.exit_code == 0, result.output
    tables = len([name for name in names if name.endswith(".csv")])
    numbers = result.stdout.split()[0]
    assert result.stdout == f"{numbers} numbers in {tables} tables: all equal\n"


def test_the_same_command_gives_the_same_bytes_and_with_json_nothing_else_on_standard_output(
    sweep: Path, made: Path
) -> None:
    before = made.read_bytes()
    result = run(sweep, "--out", sweep.parent / "out", "--bundle", made, "--json")
    assert made.read_bytes() == before
    assert json.loads(result.stdout)["complete"] in (True, False)
    assert result.stderr.startswith("Bundle: ")


def test_an_unpacked_bundle_is_reported_again(made: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(made, tmp_path)
    root = tmp_path / "conclugen-bundle"
    assert run(root / "sweeps" / "1-s", "--out", tmp_path / "again").exit_code in (0, 1)
    first, second = (pd.read_csv(folder / "ablation.csv") for folder in (root / "report", tmp_path / "again"))
    pd.testing.assert_frame_equal(first, second)


def test_a_changed_number_is_shown_as_a_table_and_as_json(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(made.read_bytes())
    name = "report/labels.csv"
    rewrite(path, lambda files: files.update({name: files[name].replace(b"0.5305", b"0.5405", 1)}))
    result = run("verify", path)
    assert result.exit_code == 1
    assert [word in result.stdout for word in ("labels.csv", "mean", "0.5405", "0.5305", "1 difference")] == [True] * 5
    document = json.loads(run("verify", path, "--json").stdout)
    assert document["equal"] is False
    (difference,) = document["differences"]
    assert (difference["column"], difference["bundled"], difference["computed"]) == ("mean", "0.5405", "0.5305")


def test_a_changed_file_is_shown_with_what_is_wrong(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(made.read_bytes())
    rewrite(path, lambda files: files.update({"report/index.html": b"other"}), sums=False)
    result = run("verify", path)
    assert result.exit_code == 1
    assert "report/index.html: is not as it was written" in result.stdout
    assert json.loads(run("verify", path, "--json").stdout)["changed_files"] == {
        "report/index.html": "is not as it was written"
    }


def test_other_versions_are_told(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(made.read_bytes())
    version = json.loads(members(made)["MANIFEST.json"])["environment"]["pandas"].encode()
    rewrite(path, lambda files: files.update({"MANIFEST.json": files["MANIFEST.json"].replace(version, b"0.1")}))
    result = run("verify", path)
    assert result.exit_code == 0
    assert "pandas 0.1 (here " in result.stdout
    assert "1e-09" in result.stdout


def test_a_truncated_bundle_is_refused_with_one_message(made: Path, tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_bytes(made.read_bytes()[:-100])
    (problem,) = problems(run("verify", tmp_path / "b.zip"))
    assert problem.startswith(f"{tmp_path / 'b.zip'}: is no ZIP, or a damaged one")


def test_a_missing_bundle_is_told_with_the_folder_of_that_name(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (problem,) = problems(run("verify", "no.zip"))
    assert problem == "no.zip: is no file; give a bundle, from `conclugen report --bundle`."
    shutil.copytree(sweep, "verify")
    (problem,) = problems(run("verify", "no.zip"))
    assert problem.endswith("; a sweep folder called verify is ./verify.")
    assert run("./verify", "--out", "first").exit_code in (0, 1)
    assert run("verify", "--out", "second").exit_code in (0, 1)
    assert (tmp_path / "second" / "index.html").is_file()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("b.tar", "is no name of a ZIP; let it end in .zip."),
        ("sweep/ledger/b.zip", "lies in a folder of the sweep in"),
        ("mine.zip", "exists, and is no bundle of a report; give another name, or remove it."),
        ("other.zip", "exists, and is no bundle of a report; give another name, or remove it."),
        ("folder.zip", "is a folder; give a file."),
    ],
)
def test_a_bundle_replaces_no_other_file(sweep: Path, tmp_path: Path, name: str, problem: str) -> None:
    shutil.copytree(sweep, tmp_path / "sweep")
    (tmp_path / "mine.zip").write_text("mine", encoding="utf-8")
    write_archive(tmp_path / "other.zip", {"mine": lambda: b""})
    (tmp_path / "folder.zip").mkdir()
    before = sorted(tmp_path.rglob("*"))
    (message,) = problems(run(tmp_path / "sweep", "--out", tmp_path / "out", "--bundle", tmp_path / name))
    assert message.startswith(f"--bundle {tmp_path / name}: ")
    assert problem in message
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "mine.zip").read_text(encoding="utf-8") == "mine"


def test_a_comparison_has_a_bundle_too(sweep: Path, tmp_path: Path) -> None:
    other = sweep_folder(tmp_path / "other", [replace(entry, seed=entry.seed + 7) for entry in planted()])
    result = run(sweep, other, "--compare", "--out", tmp_path / "out", "--bundle", tmp_path / "b.zip")
    assert result.exit_code == 0, result.output
    assert run("verify", tmp_path / "b.zip").exit_code == 0


def test_a_comparison_verifies_wherever_it_was_made(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of a folder that is given as a dot depends on where the command runs."""
    sweep_folder(tmp_path / "other", [replace(entry, seed=entry.seed + 7) for entry in planted()])
    monkeypatch.chdir(tmp_path / "other")
    assert run(sweep, ".", "--compare", "--out", "../out", "--bundle", "../b.zip").exit_code == 0
    monkeypatch.chdir(tmp_path)
    result = run("verify", "b.zip")
    assert result.exit_code == 0, result.output


def test_a_bundle_may_lie_beside_the_sweep_s_files_and_has_the_sweep_s_copy_of_its_space(tmp_path: Path) -> None:
    """The path in the records names a file that is gone; the choice of columns shows that the copy was read."""
    records = [replace(entry, config={**entry.config, "space": "/no/such/space.yaml"}) for entry in planted()]
    folder = sweep_folder(tmp_path / "sweep", records)
    (folder / "space.yaml").write_text(
        "description: mine\nparameters:\n  lr: {low: 0.0001, high: 0.1, log: true, default: 0.001}\n", encoding="utf-8"
    )
    path = folder / "b.zip"
    assert run(folder, "--out", folder / "report", "--bundle", path).exit_code in (0, 1)
    assert b"description: mine" in members(path)["sweeps/1-s/space.yaml"]
    assert all(entry.config["space"] == "/no/such/space.yaml" for entry in Ledger(folder / "ledger"))
    assert run("verify", path).exit_code == 0
