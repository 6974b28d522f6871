"""Every refusal of the preflight check, without a cluster; end_to_end/test_cluster.py meets some on a real one."""

import os
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from sweeps.config import ConfigError, SweepConfig, load_config
from sweeps.estimate.room import Node
from sweeps.execution import preflight
from sweeps.execution.code import Code
from sweeps.execution.preflight import Facts, Preflight, collect, problems
from sweeps.folder.layout import SweepFolder

ROOT = Path("/shared/sweep")
EXPECTED = Facts(
    versions={"Python": "3.11.9", "ray": "2.60.0", "torch": "2.13.0"},
    folder="1d",
    writable=True,
    features={"/data/clips": "f00d"},
    shared_memory=2**30,
    loopback=False,
)
FIRST, SECOND = Node("1", "10.0.0.1", 4, 0), Node("2", "10.0.0.2", 4, 0)


def problems_of(facts: Facts | str, *, workers: int = 1, gpus: int = 0, spread: bool = False) -> list[str]:
    """The problems of two nodes: the first is as expected, the second has ``facts``."""
    nodes = {FIRST: EXPECTED, SECOND: facts}
    return problems(EXPECTED, nodes, root=ROOT, workers=workers, gpus=gpus, spread=spread)


def test_equal_nodes_have_no_problem() -> None:
    assert problems_of(EXPECTED, workers=4, gpus=1, spread=True) == []


@pytest.mark.parametrize(
    ("facts", "texts"),
    [
        ("no answer within 120 s", ["no answer within 120 s"]),
        (
            replace(EXPECTED, versions={**EXPECTED.versions, "Python": "3.11.8"}),
            ["has Python 3.11.8, but this machine has 3.11.9"],
        ),
        (
            replace(EXPECTED, versions={**EXPECTED.versions, "torch": "2.12.0"}),
            ["has torch 2.12.0, but this machine has 2.13.0", "install"],
        ),
        (replace(EXPECTED, folder=""), ["sweep folder /shared/sweep is not visible on the node", "every node mounts"]),
        (replace(EXPECTED, folder="2d"), ["/shared/sweep on the node is not this sweep's folder", "every node mounts"]),
        (replace(EXPECTED, writable=False), ["cannot be written on the node", "give the user that runs Ray"]),
        (replace(EXPECTED, configuration=("space: /s.yaml: is missing.",)), ["space: /s.yaml: is missing."]),
        (
            replace(EXPECTED, features={"/data/clips": "bad"}),
            ["/data/clips differs from that on this machine (fingerprint bad, not f00d)", "copy it again"],
        ),
        (replace(EXPECTED, missing=("/data/clips/train.arrow",)), ["lack 1 file, such as /data/clips/train.arrow"]),
        (
            replace(EXPECTED, shared_memory=2**26),
            ["its /dev/shm has 64 MiB, but Ray's object store needs 75 MiB", "--shm-size=1g"],
        ),
    ],
)
def test_each_problem_names_its_node_and_the_remedy(facts: Facts | str, texts: list[str]) -> None:
    (problem,) = problems_of(facts)
    assert problem.startswith("node 10.0.0.2: ")
    assert all(text in problem for text in texts), problem


def test_all_problems_of_all_nodes_are_listed_at_once() -> None:
    versions = {**EXPECTED.versions, "ray": "2.59.0"}
    bad = replace(EXPECTED, folder="", shared_memory=2**20, missing=("a",), versions=versions)
    lines = problems(EXPECTED, {FIRST: bad, SECOND: bad}, root=ROOT, workers=1, gpus=0)
    assert [line.split(":")[0] for line in lines] == 4 * ["node 10.0.0.1"] + 4 * ["node 10.0.0.2"]


@pytest.mark.parametrize(("workers", "gpus", "refused"), [(1, 1, False), (2, 0, False), (2, 1, True)])
def test_gpus_that_train_one_trial_together_need_more_shared_memory(workers: int, gpus: int, refused: bool) -> None:
    facts = replace(EXPECTED, shared_memory=2**30 - 1)
    assert bool(problems_of(facts, workers=workers, gpus=gpus)) == refused


def test_a_system_without_shared_memory_files_is_accepted() -> None:
    assert problems_of(replace(EXPECTED, shared_memory=None)) == []


def test_a_node_with_a_loopback_name_is_refused_only_if_workers_span_nodes() -> None:
    facts = replace(EXPECTED, loopback=True)
    assert problems_of(facts, workers=2) == []
    (problem,) = problems_of(facts, workers=2, spread=True)
    assert "its host name means 127.0.0.1" in problem
    assert "GLOO_SOCKET_IFNAME" in problem


# -- the facts of a machine --------------------------------------------------------------------------------------------


@pytest.fixture
def sweep(write_config: Callable[..., Path], planted: Path, tmp_path: Path) -> tuple[SweepConfig, SweepFolder]:
    features = shutil.copytree(planted, tmp_path / "features")  # tests below damage it
    config = load_config(write_config(features={"pretrain": str(features), "downstream": {"planted": str(features)}}))
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    return config, folder


def facts_of(sweep: tuple[SweepConfig, SweepFolder]) -> Facts:
    config, folder = sweep
    return collect(str(folder.root.resolve()), [str(config.features.pretrain)])


def test_a_machine_has_no_problem_with_its_own_facts(sweep: tuple[SweepConfig, SweepFolder]) -> None:
    facts = facts_of(sweep)
    assert facts.folder == sweep[1].identity
    assert facts.writable
    assert (facts.configuration, facts.missing) == ((), ())
    assert problems(facts, {FIRST: facts}, root=sweep[1].root, workers=1, gpus=0) == []


def test_a_missing_or_incomplete_feature_set_is_a_problem(sweep: tuple[SweepConfig, SweepFolder]) -> None:
    config, folder = sweep
    whole = facts_of(sweep)
    next(config.features.pretrain.glob("*.arrow")).unlink()
    (problem,) = problems(whole, {FIRST: facts_of(sweep)}, root=folder.root, workers=1, gpus=0)
    assert "lack 1 file" in problem
    (config.features.pretrain / "manifest.json").unlink()
    lines = problems(whole, {FIRST: facts_of(sweep)}, root=folder.root, workers=1, gpus=0)
    assert [line.split(":")[1] for line in lines] == [" features.pretrain", " features.downstream.planted"]
    assert all("is not a feature set" in line for line in lines)


def test_a_missing_sweep_folder_has_no_identity(tmp_path: Path) -> None:
    facts = collect(str(tmp_path / "elsewhere"), [])
    assert (facts.folder, facts.writable, facts.configuration) == ("", False, ())


@pytest.mark.parametrize(
    ("address", "interface", "loopback"),
    [("127.0.1.1", None, True), ("10.0.0.1", None, False), ("127.0.1.1", "eth0", False)],
)
def test_a_host_name_that_is_a_loopback_address_is_recognised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, interface: str | None, loopback: bool
) -> None:
    monkeypatch.setattr(socket, "gethostbyname", lambda name: address)
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    if interface is not None:
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", interface)
    assert collect(str(tmp_path), []).loopback == loopback


def test_the_smallest_gpu_of_a_machine_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '81559\\n40960\\n'\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert collect(str(tmp_path), []).gpu_memory == 40960 * 2**20
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert collect(str(tmp_path), []).gpu_memory is None


# -- checking nodes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The answers of a cluster's nodes by identity. An exception is raised; a missing answer has not arrived yet."""
    answers: dict[str, Any] = {}

    def get(reference: str, timeout: float) -> Any:
        if reference not in answers:
            raise ray.exceptions.GetTimeoutError
        if isinstance(answer := answers[reference], Exception):
            raise answer
        return answer

    def wait(references: list[str], num_returns: int, timeout: float) -> tuple[list[str], list[str]]:
        arrived = [reference for reference in references if reference in answers]
        return arrived, [reference for reference in references if reference not in answers]

    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(preflight, "alive_nodes", lambda: [FIRST, SECOND])
    return answers


def identity(node: Node, code: Code, question: str, root: str, features: Sequence[str]) -> str:
    """Stands for asking a node: the reference of its facts is its identity."""
    return node.identity


def make_preflight(
    sweep: tuple[SweepConfig, SweepFolder], *, gpus: int = 0, say: Callable[[str], None] = print
) -> Preflight:
    return Preflight(*sweep, gpus, say, ask=identity)


def test_a_sweep_is_refused_if_one_of_its_nodes_has_a_problem(
    sweep: tuple[SweepConfig, SweepFolder], answers: dict[str, Any]
) -> None:
    facts = facts_of(sweep)
    answers |= {"1": facts, "2": replace(facts, folder="")}
    with pytest.raises(ConfigError, match=r"node 10\.0\.0\.2: the sweep folder .* is not visible on the node"):
        make_preflight(sweep).check([FIRST, SECOND])
    answers["2"] = ModuleNotFoundError("No module named 'sweeps'")
    with pytest.raises(ConfigError, match=r"node 10\.0\.0\.2: cannot run .* No module named 'sweeps'; install"):
        make_preflight(sweep).check([FIRST, SECOND])
    answers["2"] = ["conclugen from /a is not conclugen from /b: model.py differ"]
    with pytest.raises(ConfigError, match=r"node 10\.0\.0\.2: its workers would run other code .* from /a .* from /b"):
        make_preflight(sweep).check([FIRST, SECOND])
    del answers["2"]
    with pytest.raises(ConfigError, match="no answer within 120 s"):
        make_preflight(sweep).check([FIRST, SECOND])


def test_the_machine_of_the_sweeps_own_ray_is_checked_without_asking_a_process_of_ray(
    sweep: tuple[SweepConfig, SweepFolder], answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No node has answered, so a question would end in "no answer"."""
    make_preflight(sweep).check_here([FIRST])
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_frsize=1, f_blocks=2**20))
    with pytest.raises(ConfigError, match=r"node 10\.0\.0\.1: "):
        make_preflight(sweep).check_here([FIRST])


def test_a_node_that_leaves_during_the_check_is_no_problem(
    sweep: tuple[SweepConfig, SweepFolder], answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "alive_nodes", lambda: [FIRST])
    answers["1"] = facts_of(sweep)
    make_preflight(sweep).check([FIRST, SECOND])


@pytest.mark.parametrize("good", [True, False])
def test_a_node_that_joins_is_used_once_it_is_known_to_be_good(
    sweep: tuple[SweepConfig, SweepFolder], answers: dict[str, Any], good: bool
) -> None:
    facts = facts_of(sweep)
    messages: list[str] = []
    checked = make_preflight(sweep, say=messages.append)
    answers["1"] = facts
    checked.check([FIRST])
    assert checked.usable([FIRST, SECOND]) == [FIRST]
    answers["2"] = facts if good else replace(facts, folder="", writable=False)
    expected = [FIRST, SECOND] if good else [FIRST]
    assert checked.usable([FIRST, SECOND]) == expected
    assert checked.refused == (() if good else ("2",))
    assert checked.usable([FIRST, SECOND]) == expected
    assert len(messages) == (0 if good else 1)  # once
    assert all("Not used: node 10.0.0.2: the sweep folder" in message for message in messages)


def test_a_space_that_no_gpu_of_a_node_holds_is_refused_once_for_each_gpu_size(
    write_config: Callable[..., Path], tmp_path: Path, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(write_config(subsets=["Con"], baselines=[]))
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    third = Node("3", "10.0.0.3", 4, 1)
    monkeypatch.setattr(preflight, "alive_nodes", lambda: [FIRST, SECOND, third])
    facts = facts_of((config, folder))
    small = replace(facts, gpu_memory=2**14)
    answers |= {"1": small, "2": replace(facts, gpu_memory=2**36), "3": small}
    with pytest.raises(ConfigError) as refusal:
        make_preflight((config, folder), gpus=1).check([FIRST, SECOND, third])
    step, probe = refusal.value.problems
    assert step.startswith("node 10.0.0.1: space: Con with representation_dim 16")
    assert probe.startswith("node 10.0.0.1: probe: Con with representation_dim 16")
    make_preflight((config, folder), gpus=0).check([FIRST, SECOND, third])
