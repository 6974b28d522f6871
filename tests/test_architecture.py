"""The direction of imports (conclugen <- search_spaces <- sweeps; reports -> ledger and spaces) and what each loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("conclugen", "search_spaces", "sweeps", "reports")
ALLOWED = {
    "conclugen": {"conclugen"},
    "search_spaces": {"search_spaces", "conclugen"},
    "sweeps": {"sweeps", "search_spaces", "conclugen"},
    "reports": {
        "reports",
        "sweeps.ledger",
        "search_spaces",
        "conclugen.files.durable",
        "conclugen.hyperparameters",
        "conclugen.labels",
    },
}
RAY_MODULES = {
    "sweeps/execution/ray_internals/deaths.py",
    "sweeps/execution/cluster.py",
    "sweeps/execution/executor.py",
    "sweeps/execution/tensorboard.py",
    "sweeps/extraction/pipeline.py",
    "sweeps/execution/preflight.py",
    "sweeps/execution/slot.py",
    "sweeps/execution/tracking.py",
    "sweeps/execution/worker.py",
}


def imports_of(path: Path) -> set[str]:
    """Every imported module, also those inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_import_downwards_only(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    allowed = ALLOWED[package] | ({"reports"} if path.parent.name == "cli" else set())
    own = {name for name in imports_of(path) if name.split(".")[0] in PACKAGES}
    outside = {name for name in own if not any(name == a or name.startswith(f"{a}.") for a in allowed)}
    assert not outside


def test_only_the_engine_imports_ray() -> None:
    importers = {
        str(path.relative_to(ROOT))
        for path in modules()
        if any(name.split(".")[0] == "ray" for name in imports_of(path))
    }
    assert importers == RAY_MODULES


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("conclugen", {"torch", "ray", "optuna", "pandas", "sklearn", "numpy"}),
        ("search_spaces", {"torch", "ray", "optuna"}),
        ("sweeps.config", {"torch", "ray", "optuna"}),
        ("sweeps.ledger", {"torch", "ray", "optuna"}),
        ("sweeps.cli", {"torch", "ray", "optuna", "pandas", "scipy"}),
        ("sweeps.trial", {"ray", "optuna", "transformers"}),
        ("conclugen.heads", {"ray", "optuna", "transformers"}),
        ("sweeps.execution.mailbox", {"torch", "ray", "optuna"}),
        ("sweeps.execution.executor", {"torch"}),
        ("sweeps.execution.tracking", {"torch"}),
        ("sweeps.execution.slot", {"torch"}),
        ("conclugen.extraction.recipe", {"torch", "transformers", "av", "cv2"}),
        ("reports", {"torch", "ray", "optuna"}),
    ],
)
def test_importing_loads_no_more_than_it_must(module: str, heavy: set[str]) -> None:
    script = f"import sys, {module}; print(*sorted(set(sys.modules) & {heavy!r}))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.split() == []


def test_nothing_that_is_read_back_is_unpickled() -> None:
    """Checkpoints of the released code are an exception, whose reader refuses all that would be executed.

    So are the handles of actors, which the processes of a running sweep send each other.
    """
    unpicklers = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    users = {
        str(path.relative_to(ROOT))
        for path in modules()
        if unpicklers & {name.split(".")[0] for name in imports_of(path)} or "torch.load" in path.read_text()
    }
    assert users == {"conclugen/sharing/lightning.py", "sweeps/execution/ray_internals/deaths.py"}


def test_files_stay_readable() -> None:
    long = {str(path): lines for path in modules() if (lines := len(path.read_text().splitlines())) > 420}
    assert not long
