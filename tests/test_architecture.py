"""The direction of imports, who may name what, and what importing a module loads and changes."""

import ast
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from sweeps.execution.environment import DEFAULTS

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
        "conclugen.counts",
        "conclugen.files.durable",
        "conclugen.files.tables",
        "conclugen.hyperparameters",
        "conclugen.labels",
        "conclugen.names",
        "conclugen.settings.documents",
    },
}
"""Package -> what its modules may import of our packages; command line and Python interface may import reports, too."""

FLOORS = {
    "sweeps": (
        "__main__",
        "cli",
        "api",
        "actions",
        "extraction",
        "execution",
        "estimate",
        "search",
        "trial",
        "folder",
        "config",
        "jobs",
        "ledger",
        "terminal",
        "interrupts",
        "tables",
        "processor",
        "exit_codes",
    ),
    "conclugen": (
        "sharing",
        "baselines",
        "evaluation",
        "training",
        "extraction",
        "datasets",
        "formats",
        "features",
        "files",
        "settings",
        "model",
        "heads",
        "losses",
        "clustering",
        "hyperparameters",
        "distributed",
        "labels",
        "names",
        "seeds",
        "subsets",
        "counts",
    ),
    "reports": (
        "bundle",
        "report",
        "writing",
        "drawings",
        "contents",
        "folder",
        "output",
        "figures",
        "statistics",
        "processes",
        "errors",
    ),
}
"""Package -> its folders and modules from top to bottom; each imports only what stands below it."""

RAY_INTERNALS = "sweeps/execution/ray_internals/"
PRIVATE_TO_RAY = re.compile(r"\bray\.(?:[\w.]+\.)?(?:_\w+|core\.generated\b|train\.v2\b)")
OPTUNA_USERS = ("sweeps/search/", "reports/statistics/importance.py")


def imports_of(path: Path) -> set[str]:
    """The dotted name of everything that a module imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def within(name: str, packages: Collection[str]) -> bool:
    """Whether a dotted name is one of the packages or lies in one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def modules(*packages: str) -> list[Path]:
    return [path for package in packages or PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


def importers(library: str) -> list[str]:
    """The modules that import a library."""
    return [place(path) for path in modules() if any(within(name, {library}) for name in imports_of(path))]


@pytest.mark.parametrize("path", modules(), ids=place)
def test_packages_import_downwards_only(path: Path) -> None:
    allowed = ALLOWED[path.relative_to(ROOT).parts[0]] | ({"reports"} if path.parent.name in ("cli", "api") else set())
    ours = {name for name in imports_of(path) if within(name, PACKAGES)}
    assert {name for name in ours if not within(name, allowed)} == set()


@pytest.mark.parametrize("path", [path for path in modules(*FLOORS) if path.stem != "__init__"], ids=place)
def test_a_floor_imports_only_what_stands_below_it(path: Path) -> None:
    package, own, *_ = path.relative_to(ROOT).with_suffix("").parts
    floors = FLOORS[package]
    names = {name.split(".")[1] for name in imports_of(path) if within(name, {package}) and "." in name}
    imported = (names & set(floors)) - {own}
    assert imported <= set(floors[floors.index(own) + 1 :])


def test_every_folder_and_module_stands_on_a_floor() -> None:
    for package, floors in FLOORS.items():
        entries = [entry for entry in (ROOT / package).iterdir() if entry.name not in ("__pycache__", "__init__.py")]
        code = {entry.stem for entry in entries if entry.suffix == ".py" or any(entry.glob("*.py"))}
        assert code == set(floors), package


def test_the_page_on_the_architecture_names_every_folder_and_module() -> None:
    tree = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## The words")[0]
    names = {floor for floors in FLOORS.values() for floor in floors} - {"__main__"}
    assert {name for name in names if not re.search(rf"\b{name}(/|\.py)", tree)} == set()


def test_search_and_trial_never_import_each_other() -> None:
    for room, other in (("search", "sweeps.trial"), ("trial", "sweeps.search")):
        users = [path for path in modules(f"sweeps/{room}") if any(within(name, {other}) for name in imports_of(path))]
        assert users == []


def test_only_execution_and_extraction_import_ray() -> None:
    assert [path for path in importers("ray") if not path.startswith(("sweeps/execution/", "sweeps/extraction/"))] == []


def test_only_one_room_names_what_is_private_to_ray() -> None:
    outside = [path for path in modules() if not place(path).startswith(RAY_INTERNALS)]
    users = {place(path) for path in outside if any(PRIVATE_TO_RAY.search(name) for name in imports_of(path))}
    assert users == set()


def test_the_room_of_what_is_private_to_ray_stays_small() -> None:
    names = {
        name
        for path in modules()
        if place(path).startswith(RAY_INTERNALS)
        for name in imports_of(path)
        if PRIVATE_TO_RAY.search(name)
    }
    attributes = {
        node.attr
        for path in modules()
        if place(path).startswith(RAY_INTERNALS)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and re.fullmatch("_[a-z]\\w+", node.attr)
    }
    assert len(names) + len(attributes) <= 10, (names, attributes)


@pytest.mark.parametrize(
    ("sample", "private"),
    [
        ("ray._private.state.state", True),
        ("ray._raylet.GcsClient", True),
        ("ray.train._internal.session", True),
        ("ray.train.v2.api.config.RunConfig", True),
        ("ray.core.generated.gcs_pb2", True),
        ("ray.train.RunConfig", False),
        ("ray.util.placement_group.placement_group", False),
        ("conclugen._private", False),
    ],
)
def test_names_that_are_private_to_ray_are_recognised(sample: str, private: bool) -> None:
    assert (PRIVATE_TO_RAY.search(sample) is not None) == private


def test_only_the_search_imports_optuna() -> None:
    """The report's fANOVA is the exception: it evaluates a finished search."""
    assert [path for path in importers("optuna") if not path.startswith(OPTUNA_USERS)] == []


def test_importing_the_ledger_changes_nothing_in_the_process() -> None:
    script = """
import gc, os, signal, sys, threading
def state():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return dict(os.environ), gc.get_threshold(), gc.isenabled(), handlers, threading.active_count(), os.getcwd()
before = state()
import sweeps.ledger
print(before == state())
"""
    assert run_python(script) == ["True"]


def test_no_variable_that_the_user_has_set_is_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*DEFAULTS, "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "7")
    script = """
import os
before = dict(os.environ)
import sweeps.execution.environment
print(before == dict(os.environ))
"""
    assert run_python(script) == ["True"]


def test_the_users_wait_policy_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    assert run_python("import os, sweeps.execution.environment; print('GOMP_SPINCOUNT' in os.environ)") == ["False"]


def run_python(script: str) -> list[str]:
    """The words that a program in a new process prints."""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True, cwd=ROOT)
    return result.stdout.split()


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("conclugen", {"torch", "ray", "optuna", "pandas", "sklearn", "numpy"}),
        ("search_spaces", {"torch", "ray", "optuna"}),
        ("sweeps", {"torch", "ray", "optuna", "pandas", "pydantic"}),
        ("sweeps.api", {"torch", "ray", "optuna"}),
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
    assert run_python(script) == []


def test_nothing_that_is_read_back_is_unpickled() -> None:
    """Checkpoints of the released code are an exception, whose reader refuses all that would be executed.

    So are the handles of actors, which the processes of a running sweep send each other.
    """
    unpicklers = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    users = {
        str(path.relative_to(ROOT))
        for path in modules()
        if unpicklers & {name.split(".")[0] for name in imports_of(path)}
        or "torch.load" in path.read_text(encoding="utf-8")
    }
    assert users == {
        "conclugen/formats/pickles.py",
        "conclugen/formats/torch_files.py",
        "conclugen/sharing/lightning.py",
        "sweeps/execution/worker_process.py",
    }


TEXT_CALLS = {"open": "r", "fdopen": "r", "NamedTemporaryFile": "w+b", "TemporaryFile": "w+b", "FileHandler": "a"}
"""Function that opens a file -> its mode where none is given."""
NO_TEXT = {"os", "archive", "av", "Image", "sweeps", "system"}
"""Whose `open` has no encoding: descriptors, archives, media, pictures, sweeps, remote file systems."""


def calls_without_encoding(source: str) -> list[int]:
    """The lines of calls that read or write text in the locale's encoding."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if "encoding" in given or (isinstance(owner, ast.Name) and owner.id in NO_TEXT and name == "open"):
            continue
        if name in TEXT_CALLS:
            place_of_mode = 1 if name == "fdopen" or (name == "open" and owner is None) else 0
            positional = node.args[place_of_mode:]
            mode = given.get("mode", positional[0] if positional else None)
            text = "b" not in (mode.value if isinstance(mode, ast.Constant) else TEXT_CALLS[name])
        else:
            text = (
                (name == "read_text" and not node.args)
                or (name == "write_text" and len(node.args) < 2)
                or (name in ("run", "Popen", "check_output") and bool({"text", "universal_newlines"} & set(given)))
            )
        if text:
            lines.append(node.lineno)
    return sorted(lines)


def test_only_figures_draw() -> None:
    """The page has the scripts of charts from `vl_convert`, too."""
    assert [path for path in importers("altair") if not path.startswith("reports/figures/")] == []
    drawing = [path for path in importers("vl_convert") if not path.startswith("reports/figures/")]
    assert set(drawing) <= {"reports/output/page.py"}


def test_text_is_never_in_the_encoding_of_the_locale() -> None:
    """Ruff finds only those calls whose object it knows to be a path."""
    paths = modules(*PACKAGES, "benchmarks", "tests")
    lines = {place(path): calls_without_encoding(path.read_text(encoding="utf-8")) for path in paths}
    assert {path: found for path, found in lines.items() if found} == {}


def test_calls_without_encoding_are_found() -> None:
    calls = [
        "p.read_text()", "p.write_text(x)", "p.open()", "p.open('a')", "open(p)", "open(p, mode='w')", "os.fdopen(1)",
        "subprocess.run(c, text=True)", "NamedTemporaryFile('w')", "logging.FileHandler(p)",
    ]  # fmt: skip
    fine = [
        "p.read_text('utf-8')", "p.write_text(x, 'utf-8')", "p.open('rb')", "open(p, 'wb')", "os.open(p, flags)",
        "open(p, encoding='utf-8')", "subprocess.run(c, encoding='utf-8')", "subprocess.run(c)", "NamedTemporaryFile()",
    ]  # fmt: skip
    assert calls_without_encoding("\n".join([*calls, *fine])) == list(range(1, len(calls) + 1))


def test_files_stay_readable() -> None:
    long = {
        str(path): lines for path in modules() if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 420
    }
    assert not long
