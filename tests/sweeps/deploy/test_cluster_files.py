"""The files in sweeps/deploy: each fits the schema of its reader, and the real parsers accept its commands."""

import copy
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest.mock import MagicMock

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer, get_nodes_for
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

import sweeps
from sweeps.config import load_config
from sweeps.estimate.room import Allocation, Node, allocate
from sweeps.execution import capacity
from sweeps.execution.capacity import grow

FOLDER = Path(sweeps.__file__).parent / "deploy"
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "kubernetes.md"
_CONSTRAINTS = (Path(__file__).parents[3] / "constraints.txt").read_text(encoding="utf-8").splitlines()
(PINNED_RAY,) = (line.removeprefix("ray==") for line in _CONSTRAINTS if line.startswith("ray=="))
"""The version of Ray that `make test` installs; the files start clusters of it."""
KUBERNETES = "1.30"  # the oldest version that should accept the files


def parse_ray_start(arguments: list[str]) -> dict[str, Any]:
    """Parse the arguments of ``ray start`` as Ray does; raise if Ray refuses them."""
    return dict(start.make_context("ray start", arguments).params)


def ray_exec(path: Path) -> list[str]:
    """The words of the command that ``ray exec`` runs according to the text in ``path``."""
    (command,) = re.findall(
        r"ray exec autoscaler.yaml '(.+?)'", re.sub(r"\\\n#?", " ", path.read_text(encoding="utf-8"))
    )
    return shlex.split(command)


def kuberay_entrypoint(path: Path) -> list[str]:
    """The words of the command that the RayJob in ``path`` runs."""
    _, job = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return shlex.split(job["spec"]["entrypoint"])


# -- clusters that start without a node for trials ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(ray_exec(FOLDER / "autoscaler.yaml"), id="autoscaler.yaml"),
        pytest.param(ray_exec(PAGE), id="docs"),
        pytest.param(kuberay_entrypoint(FOLDER / "rayjob.yaml"), id="rayjob.yaml"),
    ],
)
def test_a_sweep_that_finds_only_a_head_waits_for_another_node(
    command: list[str],
    parse_run: Callable[[list[str]], dict[str, Any]],
    write_config: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No head has CPUs or GPUs for trials. A node joins while the sweep waits, for half an hour at most."""
    workers = load_config(write_config(), parse_run(command[1:])["overrides"]).workers
    nodes = [Node("head", "10.0.0.1", cpus=0, gpus=0)]
    timeouts: list[float] = []

    def wait(references: object, timeout: float) -> None:
        timeouts.append(timeout)
        nodes.append(Node("gpu", "10.0.0.2", cpus=8, gpus=1))

    monkeypatch.setattr(capacity, "alive_nodes", lambda: nodes)
    for name in ("request_resources", "placement_group", "remove_placement_group"):
        monkeypatch.setattr(capacity, name, MagicMock())
    monkeypatch.setattr(ray, "wait", wait)
    grow(workers, lambda text: None)
    assert allocate(workers, nodes, may_grow=True) == Allocation(slots=1, workers=1, cpus=8, gpus=1)
    assert timeouts == [30 * 60]


# -- ray up ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def autoscaler() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "autoscaler.yaml").read_text(encoding="utf-8"))


def test_the_autoscaler_accepts_its_file(autoscaler: dict[str, Any]) -> None:
    validate_config(prepare_config(autoscaler))


@pytest.mark.parametrize(
    "break_config",
    [
        lambda config: config.update(max_wrokers=8),
        lambda config: config["available_node_types"]["gpu"].update(resources={"GPU": "one"}),
        lambda config: config.update(head_node_type="haed"),
        lambda config: config["available_node_types"]["gpu"].update(min_workers=9),
    ],
)
def test_the_autoscaler_refuses_a_broken_file(
    autoscaler: dict[str, Any], break_config: Callable[[dict[str, Any]], None]
) -> None:
    break_config(autoscaler)
    with pytest.raises((ValueError, jsonschema.ValidationError)):
        validate_config(prepare_config(autoscaler))


def test_the_autoscaler_adds_a_machine_for_each_trial_up_to_the_maximum(autoscaler: dict[str, Any]) -> None:
    config = prepare_config(autoscaler)
    for trials, machines in ((3, 3), (20, config["max_workers"])):
        added, _ = get_nodes_for(
            config["available_node_types"],
            {"head": 1},
            config["head_node_type"],
            config["max_workers"],
            [{"GPU": 1}] * trials,
            partial(_default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({})),
        )
        assert added == {"gpu": machines}


def test_ray_and_conclugen_accept_the_commands_in_the_autoscaler_file(
    autoscaler: dict[str, Any], parse_run: Callable[[list[str]], dict[str, Any]]
) -> None:
    text = (FOLDER / "autoscaler.yaml").read_text(encoding="utf-8")
    program, *arguments = ray_exec(FOLDER / "autoscaler.yaml")
    assert program == "conclugen"
    assert parse_run(arguments)["address"] == "auto"
    for role, is_head in (("head", True), ("worker", False)):
        (line,) = [line for line in autoscaler[f"{role}_start_ray_commands"] if line.startswith("ray start ")]
        assert parse_ray_start(shlex.split(line)[2:])["head"] is is_head
    assert "--env RAY_AUTH_MODE=token" in autoscaler["docker"]["run_options"]
    assert f"rayproject/ray:{PINNED_RAY}-" in text


# -- KubeRay ---------------------------------------------------------------------------------------------------------


class Closed(BaseModel):
    """The fields of KubeRay's ray.io/v1 resources that the file uses. As in Kubernetes, no value is converted."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)


class AuthOptions(Closed):
    mode: Literal["disabled", "token"]


class AutoscalerOptions(Closed):
    idle_timeout_seconds: int


class HeadGroupSpec(Closed):
    ray_start_params: dict[str, str]
    template: dict[str, Any]


class WorkerGroupSpec(HeadGroupSpec):
    group_name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    replicas: int = Field(ge=0)
    min_replicas: int = Field(ge=0)
    max_replicas: int = Field(ge=1)


class RayClusterSpec(Closed):
    ray_version: str
    auth_options: AuthOptions
    enable_in_tree_autoscaling: bool
    autoscaler_options: AutoscalerOptions
    head_group_spec: HeadGroupSpec
    worker_group_specs: list[WorkerGroupSpec]


class RayJobSpec(Closed):
    entrypoint: str
    runtime_env_yaml: str = Field(alias="runtimeEnvYAML")
    backoff_limit: int = Field(ge=0)
    shutdown_after_job_finishes: bool
    ttl_seconds_after_finished: int = Field(ge=0)
    ray_cluster_spec: RayClusterSpec


class RayJob(Closed):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: dict[str, str]
    spec: RayJobSpec


@pytest.fixture
def documents() -> tuple[dict[str, Any], dict[str, Any]]:
    claim, job = yaml.safe_load_all((FOLDER / "rayjob.yaml").read_text(encoding="utf-8"))
    return claim, job


def check_pods(spec: RayClusterSpec) -> list[dict[str, Any]]:
    """Validate the cluster's pods as Kubernetes does; return them."""
    groups = [spec.head_group_spec, *spec.worker_group_specs]
    pods = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **group.template} for group in groups]
    for pod in pods:
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    return pods


def test_kubernetes_and_kuberay_accept_the_job(
    documents: tuple[dict[str, Any], dict[str, Any]], parse_run: Callable[[list[str]], dict[str, Any]]
) -> None:
    claim, document = documents
    kubernetes_validate.validate(claim, KUBERNETES, strict=True)
    job = RayJob.model_validate(document).spec
    cluster = job.ray_cluster_spec
    assert cluster.ray_version == PINNED_RAY
    program, *arguments = shlex.split(job.entrypoint)
    assert program == "conclugen"
    parsed = parse_run(arguments)
    assert set(yaml.safe_load(job.runtime_env_yaml)) == {"env_vars"}
    parse_ray_start([f"--{key}={value}" for key, value in cluster.head_group_spec.ray_start_params.items()])
    images = set()
    for pod in check_pods(cluster):
        (container,) = pod["spec"]["containers"]
        images.add(container["image"])
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        assert mounted["/dev/shm"]["emptyDir"]["medium"] == "Memory"  # noqa: S108  # the path is the pod's
        shared = next(path for path, volume in mounted.items() if "persistentVolumeClaim" in volume)
        assert mounted[shared]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert parsed["config_file"].is_relative_to(shared)
        assert parsed["out"].is_relative_to(shared)
    assert len(images) == 1


def test_kubernetes_refuses_broken_pods(documents: tuple[dict[str, Any], dict[str, Any]]) -> None:
    cluster = RayJob.model_validate(documents[1]).spec.ray_cluster_spec
    for break_pod in (
        lambda spec: spec["containers"][0].update(iamge="x"),
        lambda spec: spec.update(restartPolicy=1),
        lambda spec: spec["volumes"][1].update(emptyDir={"medum": "Memory"}),
    ):
        broken = cluster.model_copy(deep=True)
        break_pod(broken.worker_group_specs[0].template["spec"])
        with pytest.raises(kubernetes_validate.ValidationError):
            check_pods(broken)


def test_kuberay_refuses_a_broken_job(documents: tuple[dict[str, Any], dict[str, Any]]) -> None:
    for path, value in (("entryPoint", "x"), ("backoffLimit", "0"), ("rayClusterSpec.authOptions.mode", "tokn")):
        broken = copy.deepcopy(documents[1])
        *parents, field = path.split(".")
        section = broken["spec"]
        for parent in parents:
            section = section[parent]
        section[field] = value
        with pytest.raises(ValidationError, match=field):
            RayJob.model_validate(broken)
