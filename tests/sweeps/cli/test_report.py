"""`conclugen report` of sweeps that share names, folders and terminals, as users have them."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from sweeps.cli import app
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, Record
from tests.conftest import config_writer
from tests.sweeps.simulation import run_here

# The fixture trains a sweep, once.
pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("reports_in_one_process")]

OTHER = "0" * 16
METHODS = ("Con", "Gen", "raw_features")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, planted: Path) -> Path:
    """The folder of a finished sweep of two loss subsets."""
    root = tmp_path_factory.mktemp("cli")
    config = config_writer(root, planted)(
        subsets=["Con", "Gen"],
        baselines=["raw_features"],
        budget={"trials_per_subset": 1, "epochs": 2, "seeds": 2},
        probe={},
        objective={},
    )
    run_here(config, SweepFolder(root / "sweep"))
    return root / "sweep"


Change = Callable[[Record], Record]


@pytest.fixture
def copy(sweep: Path, tmp_path: Path) -> Callable[..., Path]:
    """See :func:`copier`."""
    return copier(sweep, tmp_path)


def copier(sweep: Path, root: Path) -> Callable[..., Path]:
    """Return a function that copies the sweep's results of some methods, with changes, into a sweep of its own."""

    def make(name: str, methods: tuple[str, ...], change: Change = lambda record: record) -> Path:
        folder = SweepFolder(root / name)
        shutil.copytree(sweep, folder.root, ignore=shutil.ignore_patterns("ledger", "id"))
        folder.ledger.mkdir()
        (folder.root / "id").write_text(f"{abs(hash(name)):032x}"[:32], encoding="utf-8")
        planned = {
            "subsets": [method for method in methods if method != "raw_features"],
            "baselines": [method for method in methods if method == "raw_features"],
        }
        for record in Ledger(SweepFolder(sweep).ledger, probabilities=True):
            if record.method in methods:
                Ledger(folder.ledger).add(change(replace(record, config={**record.config, **planned})))
        return folder.root

    return make


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(app, ["report", *map(str, arguments)])


@pytest.fixture(scope="module")
def reported(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What `conclugen report --json` of a sweep printed; the report is beside the sweep's files."""
    folder = tmp_path_factory.mktemp("reported") / "sweep"
    shutil.copytree(sweep, folder)
    return run(folder, "--out", folder / "report", "--json")


@pytest.fixture(scope="module")
def of_two(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report of two sweeps of one name, with embeddings; the sweeps are beside it."""
    root = tmp_path_factory.mktemp("two")
    copy = copier(sweep, root)
    folders = [copy("first", ("Con", "raw_features")), copy("second", ("Gen",))]
    result = run(*folders, "--out", root / "out", "--embeddings")
    assert result.exit_code == 0, result.output
    return root / "out"


def problems(result: Result) -> list[str]:
    """Return the problems of a command that refused its input."""
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    return [line.strip() for line in result.stderr.splitlines()[1:]]


def with_setting(record: Record, section: str, **settings: Any) -> Record:
    return replace(record, config={**record.config, section: {**record.config[section], **settings}})


def with_features(record: Record) -> Record:
    return replace(record, features={**record.features, "downstream.planted": OTHER})


def with_classes(record: Record) -> Record:
    predictions = [replace(p, classes=["x", "y", "z"]) for p in record.predictions]
    return with_features(replace(record, predictions=predictions))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (with_features, rf"the fingerprint of features\.downstream\.planted is [0-9a-f]+ in .*, and {OTHER} in "),
        (with_classes, r"the fingerprint of features\.downstream\.planted is"),
        (lambda r: replace(r, features={**r.features, "pretrain": OTHER}), r"the fingerprint of features\.pretrain is"),
        (lambda r: with_setting(r, "probe", kind="paper"), r"probe\.kind is logistic in .*, and paper in "),
        (lambda r: with_setting(r, "probe", selection="validation"), r"probe\.selection is budget in"),
        (lambda r: with_setting(r, "probe", label_draws=7), r"probe\.label_draws is 5 in .*, and 7 in"),
        (lambda r: with_setting(r, "budget", epochs=99), r"budget\.epochs is 2 in .*, and 99 in"),
        (lambda r: with_setting(r, "objective", metric="accuracy"), r"objective\.metric is weighted_f1 in"),
        (lambda r: replace(r, config={**r.config, "modalities": ["video"]}), r"modalities is \['video', 'audio', "),
        (lambda r: replace(r, config={**r.config, "seed": 5}), r"seed is 127 in .*, and 5 in"),
        (lambda r: replace(r, versions={**r.versions, "conclugen-sweeps": "0.1.0"}), "the version of conclugen-sweeps"),
    ],
)  # fmt: skip
def test_sweeps_that_mean_something_else_by_a_set_share_no_column(
    copy: Callable[..., Path], tmp_path: Path, change: Change, what: str
) -> None:
    first, second = copy("first", ("Con",)), copy("second", ("Gen",), change)
    (problem,) = problems(run(first, second, "--out", tmp_path / "out"))
    assert problem.startswith(f"planted: tiny ({first}) and tiny ({second}) would share the column planted, but ")
    assert re.search(what, problem)
    assert "Report them one by one" in problem
    assert not (tmp_path / "out").exists()


def test_sweeps_of_the_same_set_and_protocol_share_a_column(of_two: Path) -> None:
    frame = pd.read_csv(of_two / "ablation.csv")
    assert set(frame["method"]) == set(METHODS)
    assert set(frame["dataset"]) == {"planted"}


def test_sweeps_of_one_name_are_told_by_their_folders(of_two: Path) -> None:
    names = [f"tiny ({of_two.parent / name})" for name in ("first", "second")]
    assert set(pd.read_csv(of_two / "accounting.csv")["sweep"]) == set(names)
    page = (of_two / "index.html").read_text(encoding="utf-8")
    assert all(f"{name}: configuration" in page for name in names)


def test_a_comparison_of_other_features_is_not_paired(sweep: Path, copy: Callable[..., Path], tmp_path: Path) -> None:
    result = run(sweep, copy("other", METHODS, with_features), "--out", tmp_path / "out", "--compare")
    assert result.exit_code == 0
    assert not pd.read_csv(tmp_path / "out" / "comparison.csv")["paired"].any()
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "What differs: the fingerprint of features.downstream.planted is" in page


def test_a_comparison_of_the_same_features_is_paired(sweep: Path, copy: Callable[..., Path], tmp_path: Path) -> None:
    other = copy("other", METHODS, lambda record: with_setting(record, "probe", kind="paper"))
    result = run(sweep, other, "--out", tmp_path / "out", "--compare")
    assert result.exit_code == 0
    assert result.stdout.startswith("1. Of 3 scores in both ")
    assert pd.read_csv(tmp_path / "out" / "comparison.csv")["paired"].all()
    assert "What differs: probe.kind is" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_sweeps_tested_on_other_labels_are_not_compared(sweep: Path, copy: Callable[..., Path], tmp_path: Path) -> None:
    other = copy("other", METHODS, with_classes)
    (problem,) = problems(run(sweep, other, "--out", tmp_path / "out", "--compare"))
    assert problem.startswith("--compare: planted: the sweeps were tested on other samples or labels: ")
    assert "30 labels of a, b, c in sweep; 30 labels of x, y, z in other" in problem
    assert not (tmp_path / "out").exists()


def test_a_second_report_owns_the_folder(reported: Result, copy: Callable[..., Path], tmp_path: Path) -> None:
    def renamed(record: Record) -> Record:
        metrics = [replace(metric, dataset="other") for metric in record.metrics]
        predictions = [replace(p, dataset="other") for p in record.predictions]
        features = {"pretrain": record.features["pretrain"], "downstream.other": record.features["downstream.planted"]}
        record = replace(record, metrics=metrics, predictions=predictions, features=features)
        return with_setting(record, "features", downstream={"other": "/somewhere"})

    out = tmp_path / "out"
    shutil.copytree(json.loads(reported.stdout)["folder"], out)
    assert (out / "classes-planted.csv").exists()
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    assert run(copy("second", METHODS, renamed), "--out", out).exit_code == 0
    names = {path.name for path in out.iterdir()}
    assert {"classes-other.csv", "confusion-other.svg", "notes.txt"} <= names
    assert not [name for name in names if "planted" in name]
    assert names - {"notes.txt", "report-files.json"} == set(json.loads((out / "report-files.json").read_bytes()))


def test_every_problem_of_the_folders_is_listed_at_once(sweep: Path, tmp_path: Path) -> None:
    shutil.copytree(sweep, tmp_path / "copy")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    lines = problems(run(sweep, sweep / ".", tmp_path / "copy", tmp_path, "--out", tmp_path / "file"))
    assert [line.rpartition(": ")[2] for line in lines] == [
        "is given twice; give each sweep once.",
        f"is a copy of {sweep}, which is the same sweep; give one of them.",
        "holds no sweep (config.yaml is missing); give the --out of a sweep run.",
        "is a file; give a folder.",
    ]


def test_a_sweep_without_a_record_is_refused_before_its_heads_are_read(
    sweep: Path, copy: Callable[..., Path], tmp_path: Path
) -> None:
    empty = [copy("empty", ()), copy("bare", ())]
    expected = [
        f"{folder}: has no finished job yet; report it when `conclugen sweep status {folder}` shows some."
        for folder in empty
    ]
    assert problems(run(sweep, *empty, "--out", tmp_path / "out", "--embeddings")) == expected
    assert problems(run(*empty, "--out", tmp_path / "out", "--compare")) == expected
    assert not (tmp_path / "out").exists()


def test_methods_that_two_sweeps_have_are_told_with_the_sweeps(copy: Callable[..., Path], tmp_path: Path) -> None:
    folders = [copy("first", METHODS), copy("second", ("Gen", "raw_features"))]
    names = [f"tiny ({folder})" for folder in folders]
    (problem,) = problems(run(*folders, "--out", tmp_path / "out"))
    assert problem.startswith(f"planted: {names[0]} and {names[1]} both have raw_features, Gen. Report them one by one")
    assert not (tmp_path / "out").exists()


def test_a_setting_that_does_not_exist_is_told_with_the_sweep_s_file(copy: Callable[..., Path], tmp_path: Path) -> None:
    folder = copy("first", ("Con",))
    with (folder / "config.yaml").open("a", encoding="utf-8") as file:
        file.write("colour: red\n")
    (problem,) = problems(run(folder, "--out", tmp_path / "out", "--embeddings"))
    assert problem.startswith(f"{folder / 'config.yaml'}: colour: is no setting here")
    assert not (tmp_path / "out").exists()


def test_an_encoding_that_does_not_exist_is_told_by_its_option(sweep: Path, tmp_path: Path) -> None:
    file = tmp_path / "paper.csv"
    file.write_text("dataset,method,metric,value\nplanted,Paper,weighted_f1,0.5\n", encoding="utf-8")
    (problem,) = problems(run(sweep, "--out", tmp_path / "out", "--published", file, "--encoding", "klingon"))
    assert problem.startswith("--encoding klingon: there is no such encoding")


def test_embeddings_of_sweeps_of_one_name_are_figures_of_their_own(of_two: Path) -> None:
    methods = pd.read_csv(of_two / "embeddings.csv").groupby("sweep")["method"].unique()
    assert {name: list(found) for name, found in methods.items()} == {
        f"tiny ({of_two.parent / 'first'})": ["Con"], f"tiny ({of_two.parent / 'second'})": ["Gen"],
    }  # fmt: skip
    assert len(list(of_two.glob("embedding-*.svg"))) == 2


@pytest.mark.parametrize("place", [".", "ledger", "ledger/report", "heads", "logs"])
def test_no_report_goes_into_the_sweep_s_own_folders(sweep: Path, place: str) -> None:
    (problem,) = problems(run(sweep, "--out", sweep / place))
    assert (
        f"is a folder of the sweep in {sweep.resolve()}; give another, such as {sweep.resolve() / 'report'}" in problem
    )


def test_a_report_beside_the_sweep_s_files_is_allowed(reported: Result) -> None:
    assert reported.exit_code == 0
    out = Path(json.loads(reported.stdout)["folder"])
    assert (out / "index.html").is_file()
    assert (out.parent / "ledger").is_dir()


def test_a_report_in_a_narrow_terminal_shows_every_score_and_no_warning(sweep: Path, tmp_path: Path) -> None:
    paths = os.pathsep.join([str(Path.cwd()), *sys.path])
    environment = {**os.environ, "COLUMNS": "60", "PYTHONPATH": paths}
    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "sweeps", "report", str(sweep), "--out", "out"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=terminal, stderr=subprocess.PIPE) as process:
        os.close(terminal)
        shown = _read(master)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert_every_score_is_shown(shown, tmp_path / "out")


def assert_every_score_is_shown(shown: str, out: Path) -> None:
    assert "…" not in shown
    for mean in pd.read_csv(out / "ablation.csv").query("metric == 'weighted_f1'")["mean"]:
        assert f"{mean:.3f}" in shown
    assert shown.index("1. On planted, ") < shown.index("Ablation: weighted F1")


def _read(terminal: int) -> str:
    """Return what a process shows on a terminal, until it ends."""
    content = b""
    with suppress(OSError), open(terminal, "rb", buffering=0) as file:  # the end of a terminal is an error
        while part := file.read(4096):
            content += part
    return content.decode("utf-8")


def test_the_user_says_which_differences_do_not_matter(sweep: Path, tmp_path: Path) -> None:
    """All scores are between 0 and 1, so an interval shorter than 1 on either side of 0 is inside the region."""
    out = tmp_path / "out"
    result = run(sweep, "--out", out, "--equivalent", "1", COLUMNS="80")
    assert result.exit_code == 0
    assert_every_score_is_shown(result.stdout, out)
    frame = pd.read_csv(out / "pairs.csv")
    inside = (frame["low"] > -1) & (frame["high"] < 1)
    assert inside.any()
    assert set(frame[inside]["verdict"]) <= {"equal", "settled"}
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "lies within ±1." in page
    assert "--equivalent 1" in page


def test_a_comparison_takes_no_region_of_equivalence(sweep: Path, copy: Callable[..., Path], tmp_path: Path) -> None:
    second = copy("second", METHODS)
    (problem,) = problems(run(sweep, second, "--compare", "--out", tmp_path / "out", "--equivalent", "0.02"))
    assert problem.startswith("--equivalent: a comparison tests no pairs of methods")


def test_json_is_one_document_with_findings_and_files_and_nothing_else(sweep: Path, reported: Result) -> None:
    printed = json.loads(reported.stdout)
    out = Path(printed["folder"])
    assert reported.exit_code == 0
    assert out.name == "report"
    assert printed["complete"] is True
    assert sorted(printed["files"]) == sorted(file.name for file in out.iterdir() if file.name != "report-files.json")
    keys = {f"{record.sweep}: {record.key}" for record in Ledger(SweepFolder(sweep).ledger)}
    assert [finding["topic"] for finding in printed["findings"]][:2] == ["best", "pretraining"]
    for finding in printed["findings"]:
        assert (out / f"{finding['table']}.md").is_file()
        assert set(finding["records"]) <= keys
        assert finding["text"] in (out / "findings.md").read_text(encoding="utf-8").replace("\\", "")
