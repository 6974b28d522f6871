"""The command line as a user's shell sees it: output, exit codes, and no file written on bad input."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from conclugen import __version__
from sweeps.cli import app
from sweeps.config import load_config
from sweeps.folder.layout import SweepFolder
from sweeps.folder.lock import held
from sweeps.ledger import Ledger, Metric, Record

COMMANDS = (
    [], ["demo"], ["features"], ["features", "import"], ["features", "info"],
    ["extract"], ["manifest"], ["manifest", "meld"], ["manifest", "verify"],
    ["sweep"], ["sweep", "check"], ["sweep", "run"], ["sweep", "status"], ["dashboard"], ["report"],
)  # fmt: skip


def process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``conclugen`` in a process of its own."""
    command = [sys.executable, "-m", "sweeps", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


def conclugen(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``conclugen`` in this process: starting another takes longer than most commands."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: list[str]) -> None:
    result = conclugen(*command, "--help")
    assert result.returncode == 0
    assert "Usage:" in result.stdout


def test_help_prints_nothing_on_standard_error() -> None:
    result = process("sweep", "run", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Usage: " in result.stdout


def test_version_is_printed_without_a_command() -> None:
    result = process("--version")
    assert (result.returncode, result.stdout.strip()) == (0, __version__)


def test_unknown_options_are_bad_input() -> None:
    assert process("sweep", "run", "--no-such-option").returncode == 2


def write_npz(path: Path, **changes: object) -> Path:
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.normal(size=(12, 3)), "b": rng.normal(size=(12, 2)), "y": np.arange(12) % 2,
        "s": np.array(["train", "val", "test"])[np.arange(12) // 2 % 3], **changes,
    }  # fmt: skip
    np.savez(path, **arrays)
    return path


def test_info_shows_what_import_wrote(tmp_path: Path) -> None:
    npz = write_npz(tmp_path / "x.npz")
    out = tmp_path / "set"
    result = process(
        "features", "import", npz, "--out", out, "--modalities", "video=a,text=b", "--labels", "y", "--split", "s"
    )
    assert (result.returncode, result.stderr) == (0, "")
    info = process("features", "info", out, "--json")
    document = json.loads(info.stdout)
    assert [(m["name"], m["width"]) for m in document["modalities"]] == [("video", 3), ("text", 2)]
    assert document["rows"] == {"train": 4, "val": 4, "test": 4}
    assert document["labels"]["classes"] == ["0", "1"]
    assert document["fingerprint"] in process("features", "info", out).stdout


def test_import_lists_every_problem_and_writes_nothing(tmp_path: Path) -> None:
    npz = write_npz(tmp_path / "x.npz", a=np.full((12, 3), np.nan), y=np.zeros(5), s=np.array(["train", "no"] * 6))
    out = tmp_path / "set"
    result = process(
        "features", "import", npz, "--out", out, "--modalities", "video=a,text=b", "--labels", "y", "--split", "s"
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: 3 problems\n")
    for part in ("'video'", "labels", "'no'"):
        assert part in result.stderr
    assert "Traceback" not in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("modalities", ["video", "video=a,video=b", "=a", "video=nope,text=b"])
def test_bad_modalities_are_refused_and_nothing_is_written(tmp_path: Path, modalities: str) -> None:
    npz = write_npz(tmp_path / "x.npz")
    result = conclugen("features", "import", npz, "--out", tmp_path / "set", "--modalities", modalities)
    assert result.returncode == 2
    assert "error: 1 problem" in result.stderr
    assert not (tmp_path / "set").exists()


def test_info_of_a_folder_without_a_feature_set_is_bad_input(tmp_path: Path) -> None:
    result = conclugen("features", "info", tmp_path)
    assert result.returncode == 2
    assert "is not a feature set" in result.stderr


def test_check_prints_the_plan(write_config: Callable[..., Path]) -> None:
    result = conclugen("sweep", "check", write_config(subsets=["Con", "ConCluGen"]), "--set", "budget.seeds=3")
    assert result.returncode == 0, result.stderr
    assert "4 search trials of at most 4 epochs" in result.stdout
    assert "then 12 confirmation runs" in result.stdout
    assert "raw_features" in result.stdout
    assert "minutes" in result.stdout


def test_check_prints_plan_and_cost_as_json(write_config: Callable[..., Path]) -> None:
    result = conclugen("sweep", "check", write_config(subsets=["Con"], baselines=["raw_features"]), "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert [method["name"] for method in document["methods"]] == ["Con", "raw_features"]
    assert document["seconds"] > 0
    assert document["disk_bytes"] > 0
    assert document["not_fetched"] == []


def test_check_refuses_a_warm_start_from_a_sweep_without_a_finished_trial(
    write_config: Callable[..., Path], tmp_path: Path
) -> None:
    earlier = SweepFolder(tmp_path / "earlier")
    earlier.prepare(load_config(write_config()))
    result = conclugen("sweep", "check", write_config(search={"warm_start": str(earlier.root)}))
    assert (result.returncode, result.stdout) == (2, "")
    assert f"search.warm_start: {earlier.root} has no finished search trial yet; choose another" in result.stderr


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_bad_configuration_lists_every_problem_and_writes_nothing(
    write_config: Callable[..., Path], tmp_path: Path, command: str
) -> None:
    config = write_config(subsets=["Con", "Cnu"], seed=-1, budget={"epochs": 1})
    out = tmp_path / "out"
    before = sorted(tmp_path.rglob("*"))
    result = process("sweep", command, config, *(["--out", out] if command == "run" else []))
    assert result.returncode == 2
    assert result.stderr.startswith("error: 4 problems\n")
    for field in ("subsets.1", "seed", "budget.epochs", "budget.trials_per_subset"):
        assert f"  {field}: " in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["check", "run"])
def test_problems_of_every_stage_are_listed_together(
    write_config: Callable[..., Path], tmp_path: Path, command: str
) -> None:
    earlier = SweepFolder(tmp_path / "earlier")
    earlier.prepare(load_config(write_config()))
    config = write_config(
        modalities=["video", "smell"],
        subsets=["Con", "Cnu"],
        search={"warm_start": str(earlier.root)},
        probe={"labels_per_class": 1000},
    )
    before = sorted(tmp_path.rglob("*"))
    result = conclugen("sweep", command, config, *(["--out", tmp_path / "out"] if command == "run" else []))
    assert result.returncode == 2
    fields = [line.strip().partition(":")[0] for line in result.stderr.splitlines()]
    assert fields == [
        "error", "subsets.1", "modalities", "modalities", "search.warm_start", "probe.labels_per_class",
    ]  # fmt: skip
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_tracker_that_is_not_installed_is_bad_input(
    write_config: Callable[..., Path], tmp_path: Path, command: str
) -> None:
    config, out = write_config(tracking={"wandb": {"project": "p"}}), tmp_path / "out"
    arguments = ["sweep", command, str(config), *(["--out", str(out)] if command == "run" else [])]
    script = "import sys; sys.modules['wandb'] = None; from sweeps.__main__ import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, encoding="utf-8", check=False
    )
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert result.stderr.startswith("error: 1 problem\n  tracking.wandb: the package wandb is not installed")
    assert not out.exists()


def test_run_refuses_a_folder_that_is_not_empty_and_leaves_it_alone(
    write_config: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("data", encoding="utf-8")
    result = process("sweep", "run", write_config(), "--out", out)
    assert result.returncode == 2
    assert "exists and is not an empty folder" in result.stderr
    assert [path.name for path in out.iterdir()] == ["precious"]


@pytest.fixture
def half_done(write_config: Callable[..., Path], tmp_path: Path) -> SweepFolder:
    """A sweep over Con and Gen: Con is searched and confirmed, Gen has one unfinished trial."""
    config = load_config(write_config(subsets=["Con", "Gen"]))
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    time = "2026-01-01T00:00:00+00:00"
    ledger = Ledger(folder.ledger)
    common: dict[str, Any] = {"sweep": "tiny", "config": config.model_dump(mode="json"), "started": time, "ended": time}
    for number, state in enumerate(("complete", "pruned")):
        ledger.add(Record(stage="search", method="Con", number=number, seed=1, state=state, value=0.5, **common))
    for method in ("Con", "raw_features"):
        for number, value in enumerate((0.5, 0.7)):
            metrics = [Metric("planted", "test", budget, "weighted_f1", value) for budget in ("", "2")]
            ledger.add(
                Record(
                    stage="confirm", method=method, number=number, seed=1, state="complete", metrics=metrics, **common
                )
            )
    folder.job("search-Gen-00000").mkdir()
    return folder


def test_run_lists_the_problems_of_the_folder_and_of_the_configuration_together(
    write_config: Callable[..., Path], tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    (taken / "mine").mkdir(parents=True)
    result = conclugen("sweep", "run", write_config(subsets=["Conn"]), "--out", taken, "--set", "budget.epochs")
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "error: 3 problems",
        f"  --out {taken}: exists and is not an empty folder; choose another, or remove it first.",
        "  --set budget.epochs: expected key=value, such as budget.epochs=30.",
        "  subsets.0: 'Conn': is no loss subset; allowed are all, or a list of Con, Clu, Gen, ConClu, ConGen, CluGen, "
        "ConCluGen. Did you mean Con?",
    ]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (100_000_000, "parameters.representation_dim: fixed=100000000 must be at most 65536."),
        (65_536, "space: Con with representation_dim 65536, batch_size 20 needs at least"),
    ],
)
def test_check_refuses_heads_that_no_machine_holds(
    write_config: Callable[..., Path], tmp_path: Path, width: int, expected: str
) -> None:
    space = tmp_path / "wide.yaml"
    parameters = f"{{representation_dim: {width}, batch_size: 20, warmup_epochs: 1}}"
    space.write_text(f"description: wide\nparameters: {parameters}\n", encoding="utf-8")
    result = conclugen("sweep", "check", write_config(space=str(space), subsets=["Con"]))
    assert result.returncode == 2
    assert expected in result.stderr


@pytest.mark.parametrize("option", ["--out=~/set", "--out=$SETS/set"])
def test_paths_of_options_have_home_and_variables_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SETS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    result = conclugen("features", "synth", option, "--samples", 40, "--dims", "video=4,audio=4", "--classes", 3)
    assert result.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert conclugen("features", "info", "~/set").returncode == 0


def test_variables_that_are_not_set_are_listed_for_all_paths_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    result = conclugen("report", "$NOWHERE/a", "--out", "${NOWHERE}/b")
    assert (result.returncode, result.stderr.splitlines()) == (
        2,
        [
            "error: 2 problems",
            "  $NOWHERE/a: the environment has no variable NOWHERE; set it.",
            "  ${NOWHERE}/b: the environment has no variable NOWHERE; set it.",
        ],
    )


def test_status_counts_jobs_by_state(half_done: SweepFolder) -> None:
    rows = {
        row["name"]: row for row in json.loads(conclugen("sweep", "status", half_done.root, "--json").stdout)["rows"]
    }
    assert {k: rows["Con"][k] for k in ("planned", "running", "complete", "pruned", "failed", "best")} == {
        "planned": 2, "running": 0, "complete": 1, "pruned": 1, "failed": 0, "best": 0.5,
    }  # fmt: skip
    assert (rows["Gen"]["running"], rows["Gen"]["best"]) == (0, None)  # no process runs the sweep: it was interrupted
    assert (rows["confirm"]["planned"], rows["confirm"]["complete"]) == (8, 4)
    table = conclugen("sweep", "status", half_done.root)
    assert table.returncode == 0
    assert "0.5000" in table.stdout
    assert f"go on with conclugen sweep resume {half_done.root}" in table.stdout.replace("\n", "")
    with held(half_done):
        rows = json.loads(process("sweep", "status", half_done.root, "--json").stdout)["rows"]
    assert [row["running"] for row in rows if row["name"] == "Gen"] == [1]


def test_status_lists_failed_jobs_with_their_reasons(half_done: SweepFolder) -> None:
    (record,) = [record for record in Ledger(half_done.ledger) if record.state == "pruned"]
    reason = "nan_loss: the loss of epoch 1 is nan"
    searched = {"lr": 0.5, "representation_dim": 16}
    all_values = {**searched, "batch_size": 20, "dropout": 0.1}  # the space has one batch size, and no dropout
    failed = replace(record, number=7, state="failed", reason=reason, hyperparameters=all_values)
    Ledger(half_done.ledger).add(failed)
    command = f"conclugen sweep status {half_done.root} --failed"
    assert f"Failed: 1 nan_loss; {command} says why" in conclugen("sweep", "status", half_done.root).stdout
    lines = conclugen("sweep", "status", half_done.root, "--failed").stdout.splitlines()
    assert lines == ["1 job of 7 failed.", f"search-Con-00007: {reason}", "    lr=0.5, representation_dim=16"]
    document = json.loads(conclugen("sweep", "status", half_done.root, "--failed", "--json").stdout)
    assert document["failed"] == [
        {"key": "search-Con-00007", "class": "nan_loss", "reason": reason, "hyperparameters": searched}
    ]


def test_status_reads_the_configuration_of_an_earlier_version(half_done: SweepFolder) -> None:
    """Such a configuration names no kind of probe, and has a setting of the paper's probe."""
    document = yaml.safe_load(half_done.config.read_text(encoding="utf-8"))
    for name in ("kind", "also", "selection"):
        del document["probe"][name]
    document["probe"]["patience"] = 15
    half_done.config.write_text(yaml.safe_dump(document), encoding="utf-8")
    status = conclugen("sweep", "status", half_done.root)
    assert (status.returncode, status.stderr) == (0, "")


@pytest.mark.parametrize("command", [["sweep", "status"], ["report", "--out", "r"]])
def test_a_folder_without_a_sweep_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = conclugen(*command, tmp_path)
    assert result.returncode == 2
    assert "holds no sweep" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_report_of_an_unfinished_sweep_exits_1_and_names_missing_results_and_heads(
    half_done: SweepFolder, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    result = process("report", half_done.root, "--out", out, "--embeddings")
    assert result.returncode == 1
    assert "no result" in result.stdout
    assert str(out / "index.html") in result.stdout
    assert "--embeddings: left out:\n  tiny: Con has no head yet.\n  tiny: Gen has no head yet." in result.stderr
    assert (out / "index.html").is_file()
    assert (out / "ablation.csv").is_file()
    lines = (out / "ablation.csv").read_text(encoding="utf-8").splitlines()
    con = next(line for line in lines if line.startswith("planted,Con,weighted_f1,"))
    assert con.split(",")[3] == "0.6"
    assert con.split(",")[5:] == ["2", "2", "1", "0"]
    assert next(line for line in lines if line.startswith("planted@2,Gen,weighted_f1,")).endswith("_f1,,,0,0,0,0")


def test_a_comparison_draws_no_representations(half_done: SweepFolder, tmp_path: Path) -> None:
    both = conclugen("report", half_done.root, half_done.root, "--out", tmp_path / "two", "--compare", "--embeddings")
    assert (both.returncode, (tmp_path / "two").exists()) == (2, False)
    assert "--embeddings: a comparison draws no embeddings" in both.stderr


def test_report_without_a_finished_job_is_bad_input(write_config: Callable[..., Path], tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(load_config(write_config()))
    result = conclugen("report", folder.root, "--out", tmp_path / "report")
    assert result.returncode == 2
    assert "no finished job" in result.stderr
    assert not (tmp_path / "report").exists()


def test_demo_refuses_an_existing_folder(tmp_path: Path) -> None:
    result = process("demo", "--out", tmp_path)
    assert result.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_demo_configuration_is_valid_and_has_all_seven_subsets(tmp_path: Path) -> None:
    from sweeps.actions.demo import write_demo

    config = load_config(write_demo(tmp_path / "demo"))
    assert len(config.subsets) == 7
    assert config.budget.trials_per_subset >= 4
    assert config.budget.seeds >= 3
    assert (
        yaml.safe_load((tmp_path / "demo" / "demo.yaml").read_text(encoding="utf-8"))["features"]["pretrain"]
        == "digits"
    )


@pytest.mark.parametrize("command", ["demo", "run", "report", "import"])
def test_an_out_that_cannot_be_written_is_bad_input(
    half_done: SweepFolder, write_config: Callable[..., Path], tmp_path: Path, command: str
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out"
    arguments = {
        "demo": ["demo"],
        "run": ["sweep", "run", write_config()],
        "report": ["report", half_done.root],
        "import": ["features", "import", write_npz(tmp_path / "x.npz"), "--modalities", "video=a"],
    }[command]
    result = process(*arguments, "--out", out)
    assert (result.returncode, result.stdout) == (2, "")
    assert "error: 1 problem" in result.stderr
    assert str(tmp_path / "file") in result.stderr
    assert "Traceback" not in result.stderr


def test_check_of_a_damaged_feature_set_is_bad_input(
    write_config: Callable[..., Path], planted: Path, tmp_path: Path
) -> None:
    shutil.copytree(planted, tmp_path / "damaged")
    next((tmp_path / "damaged").glob("train-*.arrow")).unlink()
    config = write_config(features={"pretrain": "damaged", "downstream": {"planted": "damaged"}})
    result = conclugen("sweep", "check", config)
    assert result.returncode == 2
    assert "cannot be read" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "completions"), [("conclugen sw", ["sweep"]), ("conclugen sweep run x --o", ["--out"])]
)
def test_a_shell_completes_commands_and_options(words: str, completions: list[str]) -> None:
    variables = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    program = [sys.executable, "-c", "import sys; sys.argv = ['conclugen']; from sweeps.__main__ import main; main()"]
    environment = {**os.environ, **variables, "_CONCLUGEN_COMPLETE": "complete_bash"}
    result = subprocess.run(program, env=environment, capture_output=True, encoding="utf-8", check=True)
    assert result.stdout.split() == completions
