"""Every refusal of the preflight check, without a cluster; end_to_end/test_cluster.py meets some on a real one."""

import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from sweeps.config import ConfigError, SweepConfig, load_config
from sweeps.execution import preflight
from sweeps.execution.cluster import Node
from sweeps.execution.preflight import Facts, Preflight, collect, problems
from sweeps.folder.layout import SweepFolder

ROOT = Path("/shared/sweep")
HERE = Facts(
    versions={"Python": "3.11.9", "conclugen-sweeps": "0.1.0", "ray": "2.60.0", "torch": "2.13.0"},
    code="c0de",
    folder="1d",
    writable=True,
    features={"/data/clips": "f00d"},
    shared_memory=2**30,
    loopback=False,
)
FIRST, SECOND = Node("1", "10.0.0.1", 4, 0), Node("2", "10.0.0.2", 4, 0)


def found(there: Facts | str, *, workers: int = 1, gpus: int = 0, spread: bool = False) -> list[str]:
    return problems(HERE, {FIRST: HERE, SECOND: there}, root=ROOT, workers=workers, gpus=gpus, spread=spread)


def test_nodes_that_have_what_is_here_are_fine() -> None:
    assert found(HERE, workers=4, gpus=1, spread=True) == []


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (
            "No module named 'sweeps'",
            ["cannot run", "No module named 'sweeps'", "install conclugen-sweeps 0.1.0 there"],
        ),
        (replace(HERE, versions={**HERE.versions, "Python": "3.11.8"}), ["Python 3.11.8, but 3.11.9 here"]),
        (replace(HERE, versions={**HERE.versions, "torch": "2.12.0"}), ["torch 2.12.0, but 2.13.0 here", "install"]),
        (replace(HERE, code="01d"), ["files are others than here (01d, not c0de)", "update"]),
        (replace(HERE, folder=""), ["results folder /shared/sweep is not visible there", "every node mounts"]),
        (replace(HERE, folder="2d"), ["/shared/sweep is not this sweep's results folder", "every node mounts"]),
        (replace(HERE, writable=False), ["cannot be written there", "let the user that Ray runs as"]),
        (replace(HERE, configuration=("space: /s.yaml: is missing.",)), ["space: /s.yaml: is missing."]),
        (replace(HERE, features={"/data/clips": "bad"}), ["/data/clips is another one there (bad, not f00d)", "copy"]),
        (replace(HERE, missing=("/data/clips/train.arrow",)), ["lack 1 files there, such as /data/clips/train.arrow"]),
        (replace(HERE, shared_memory=2**26), ["has 64 MiB, but 75 MiB are needed", "--shm-size=1g"]),
    ],
)
def test_each_fault_is_named_with_node_and_remedy(there: Facts | str, said: list[str]) -> None:
    (problem,) = found(there)
    assert problem.startswith("node 10.0.0.2: ")
    assert all(text in problem for text in said), problem


def test_all_faults_of_all_nodes_are_listed_at_once() -> None:
    bad = replace(HERE, folder="", shared_memory=2**20, missing=("a",), versions={**HERE.versions, "ray": "2.59.0"})
    both = problems(HERE, {FIRST: bad, SECOND: bad}, root=ROOT, workers=1, gpus=0)
    assert [problem.split(":")[0] for problem in both] == 4 * ["node 10.0.0.1"] + 4 * ["node 10.0.0.2"]


def test_other_files_are_no_news_where_the_version_is_another_one() -> None:
    (problem,) = found(replace(HERE, code="01d", versions={**HERE.versions, "conclugen-sweeps": "0.0.9"}))
    assert "conclugen-sweeps 0.0.9, but 0.1.0 here" in problem


@pytest.mark.parametrize(("workers", "gpus", "refused"), [(1, 1, False), (2, 0, False), (2, 1, True)])
def test_gpus_that_train_one_trial_together_need_more_shared_memory(workers: int, gpus: int, refused: bool) -> None:
    there = replace(HERE, shared_memory=2**30 - 1)
    assert bool(found(there, workers=workers, gpus=gpus)) == refused


def test_a_system_without_shared_memory_files_is_not_judged_by_them() -> None:
    assert found(replace(HERE, shared_memory=None)) == []


def test_a_node_that_others_cannot_call_by_its_name_is_refused_where_workers_span_nodes() -> None:
    there = replace(HERE, loopback=True)
    assert found(there, workers=2) == []
    (problem,) = found(there, workers=2, spread=True)
    assert "its own name means 127.0.0.1" in problem
    assert "GLOO_SOCKET_IFNAME" in problem


# -- what a machine says of itself -------------------------------------------------------------------------------------


@pytest.fixture
def sweep(write_config: Callable[..., Path], planted: Path, tmp_path: Path) -> tuple[SweepConfig, SweepFolder]:
    own = shutil.copytree(planted, tmp_path / "own")  # the session's set must stay whole
    config = load_config(write_config(features={"pretrain": str(own), "downstream": {"planted": str(own)}}))
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    return config, folder


def facts(sweep: tuple[SweepConfig, SweepFolder]) -> Facts:
    config, folder = sweep
    return collect(str(folder.root), [str(config.features.pretrain)])


def test_a_machine_finds_what_lies_on_it(sweep: tuple[SweepConfig, SweepFolder]) -> None:
    here = facts(sweep)
    assert here.folder == sweep[1].identity
    assert here.writable
    assert (here.configuration, here.missing) == ((), ())
    assert problems(here, {FIRST: here}, root=sweep[1].root, workers=1, gpus=0) == []


def test_a_feature_set_that_is_missing_or_not_whole_is_found(sweep: tuple[SweepConfig, SweepFolder]) -> None:
    config, folder = sweep
    here = facts(sweep)
    next(config.features.pretrain.glob("*.arrow")).unlink()
    (problem,) = problems(here, {FIRST: facts(sweep)}, root=folder.root, workers=1, gpus=0)
    assert "lack 1 files" in problem
    (config.features.pretrain / "manifest.json").unlink()
    both = problems(here, {FIRST: facts(sweep)}, root=folder.root, workers=1, gpus=0)
    assert [problem.split(":")[1] for problem in both] == [" features.pretrain", " features.downstream.planted"]
    assert all("is not a feature set" in problem for problem in both)


def test_a_folder_that_is_not_there_is_found(sweep: tuple[SweepConfig, SweepFolder], tmp_path: Path) -> None:
    there = collect(str(tmp_path / "elsewhere"), [])
    assert (there.folder, there.writable, there.configuration) == ("", False, ())


def test_the_code_counts_file_by_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "code_of_this_test"
    package.mkdir()
    (package / "__init__.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(preflight, "_PACKAGES", (package.name,))
    before = preflight._checksum()
    (package / "__pycache__").mkdir()
    assert preflight._checksum() == before
    (package / "__init__.py").write_text("A = 2\n")
    assert preflight._checksum() != before


@pytest.mark.parametrize(
    ("address", "interface", "loopback"),
    [("127.0.1.1", None, True), ("10.0.0.1", None, False), ("127.0.1.1", "eth0", False)],
)
def test_a_name_that_means_the_machine_itself_is_found(
    monkeypatch: pytest.MonkeyPatch, address: str, interface: str | None, loopback: bool
) -> None:
    monkeypatch.setattr(socket, "gethostbyname", lambda name: address)
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    if interface is not None:
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", interface)
    assert preflight._loopback() == loopback


# -- asking nodes ------------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A cluster in which node i answers ``answers[i]``, an exception by raising it; others have not answered yet."""
    answers: dict[str, Any] = {}

    def get(reference: str, timeout: float) -> Any:
        if reference not in answers:
            raise ray.exceptions.GetTimeoutError
        if isinstance(answer := answers[reference], Exception):
            raise answer
        return answer

    def wait(references: list[str], num_returns: int, timeout: float) -> tuple[list[str], list[str]]:
        return [r for r in references if r in answers], [r for r in references if r not in answers]

    def ask(self: Any, nodes: list[Node]) -> None:
        self._asked |= {node.identity: node for node in nodes}

    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(Preflight, "_ask", ask)
    monkeypatch.setattr(preflight, "alive_nodes", lambda: [FIRST, SECOND])
    return answers


def test_nodes_are_refused_before_anything_runs(
    sweep: tuple[SweepConfig, SweepFolder], cluster: dict[str, Any]
) -> None:
    here = collect(str(sweep[1].root.resolve()), [str(sweep[0].features.pretrain)])
    cluster |= {"1": here, "2": replace(here, folder="")}
    with pytest.raises(ConfigError, match=r"node 10\.0\.0\.2: the results folder .* is not visible there"):
        Preflight(*sweep, 0, print).check([FIRST, SECOND])
    cluster["2"] = ModuleNotFoundError("No module named 'sweeps'")
    with pytest.raises(ConfigError, match=r"node 10\.0\.0\.2: cannot run .* No module named 'sweeps'"):
        Preflight(*sweep, 0, print).check([FIRST, SECOND])
    del cluster["2"]
    with pytest.raises(ConfigError, match="no answer within 120 s"):
        Preflight(*sweep, 0, print).check([FIRST, SECOND])


def test_a_node_that_goes_while_it_is_asked_is_no_problem(
    sweep: tuple[SweepConfig, SweepFolder], cluster: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "alive_nodes", lambda: [FIRST])
    cluster |= {"1": collect(str(sweep[1].root.resolve()), [str(sweep[0].features.pretrain)])}
    Preflight(*sweep, 0, print).check([FIRST, SECOND])


@pytest.mark.parametrize("good", [True, False])
def test_a_node_that_joins_is_used_once_it_was_found_good(
    sweep: tuple[SweepConfig, SweepFolder], cluster: dict[str, Any], good: bool
) -> None:
    here = collect(str(sweep[1].root.resolve()), [str(sweep[0].features.pretrain)])
    said: list[str] = []
    check = Preflight(*sweep, 0, said.append)
    cluster["1"] = here
    check.check([FIRST])
    assert check.usable([FIRST, SECOND]) == [FIRST]
    cluster["2"] = here if good else replace(here, folder="", writable=False)
    assert check.usable([FIRST, SECOND]) == ([FIRST, SECOND] if good else [FIRST])
    assert check.refused == (() if good else ("2",))
    assert check.usable([FIRST, SECOND]) == ([FIRST, SECOND] if good else [FIRST])
    assert len(said) == (0 if good else 1)  # once
    assert all("Not used: node 10.0.0.2: the results folder" in text for text in said)


def test_a_sweep_on_one_machine_is_checked_on_it(
    sweep: tuple[SweepConfig, SweepFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    Preflight(*sweep, 0, print).check_here()
    monkeypatch.setattr(preflight, "_shared_memory", lambda: 2**26)
    with pytest.raises(ConfigError, match="node localhost: its /dev/shm has 64 MiB"):
        Preflight(*sweep, 0, print).check_here()


def test_a_space_that_no_gpu_of_a_node_holds_is_refused_once_for_each_size(
    write_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = load_config(write_config(subsets=["Con"], baselines=[]))
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    checked = Preflight(config, folder, gpus=1, say=print)
    third = Node("3", "10.0.0.3", 4, 1)
    small, large = replace(checked._here, gpu_memory=2**14), replace(checked._here, gpu_memory=2**36)
    step, probe = checked._problems({FIRST: small, SECOND: large, third: small})
    assert step.startswith("node 10.0.0.1: space: Con with representation_dim 16")
    assert probe.startswith("node 10.0.0.1: probe: Con with representation_dim 16")
    assert Preflight(config, folder, gpus=0, say=print)._problems({FIRST: small}) == []


def test_the_smallest_gpu_of_a_machine_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '81559\\n40960\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert preflight._gpu_memory() == 40960 * 2**20
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert preflight._gpu_memory() is None
