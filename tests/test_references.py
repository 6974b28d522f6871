"""What docstrings and comments refer to exists: modules, classes, functions, files, sections of the method page.

References are resolved in the syntax trees of our files, so nothing heavy is imported. Three kinds are checked:

* names: `:class:`, `:func:`, `:meth:` and their like, and dotted names that begin with one of our packages;
* files of our tree, such as `docs/method.md`, here and in the comments of pyproject.toml and in our Markdown pages;
* sections of docs/method.md.
"""

import ast
import builtins
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("conclugen", "search_spaces", "sweeps", "reports", "benchmarks", "documentation", "tests")
PAGES = ("README.md", "docs/**/*.md", "reports/examples/README.md")
METHOD = "docs/method.md"

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc|obj):`~?([\w.]+)`")
_DOTTED = re.compile(rf"(?<![\w./:`~-])`*((?:{'|'.join(PACKAGES)})(?:\.\w+)+)(?![\w/-])")
_SUFFIXES = "py|md|yaml|toml|j2|sh|txt"
_FILE = re.compile(rf"(?<![\w/.*-])((?:{'|'.join([*PACKAGES, 'docs'])})/[\w./-]*\.(?:{_SUFFIXES}))\b")
_FOLDER = re.compile(rf"(?<![\w/.*-])((?:{'|'.join([*PACKAGES, 'docs'])})/(?:[\w.-]+/)*)(?![\w.*<{{-])")
_BARE_FILE = re.compile(rf"(?<![\w/.-])([\w-]+\.(?:{_SUFFIXES}))\b")
_OLD_METHOD = re.compile(r"\bMETHOD\b(?!_)")
_SECTION = re.compile(rf"{re.escape(METHOD)},?\s+sections?\s+((?:\d+|to|and|,|\s)+)")


@dataclass(frozen=True)
class Text:
    """A docstring or a comment.

    Attributes:
        line: where it begins.
        text: as it stands in the file.
        classes: names of the classes that it stands in, the outermost first.
    """

    line: int
    text: str
    classes: tuple[str, ...] = ()


@dataclass
class Names:
    """The names that a module or a class defines.

    Attributes:
        defined: name -> the names within it, where it is a class.
        imported: name -> the dotted name that it was imported as.
        bases: dotted names of a class's bases.
    """

    defined: dict[str, "Names"] = field(default_factory=dict)
    imported: dict[str, str] = field(default_factory=dict)
    bases: list[str] = field(default_factory=list)

    def add(self, body: list[ast.stmt]) -> None:
        """Add the names of statements, those in branches included."""
        for node in body:
            self._add(node)

    def _add(self, node: ast.stmt) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.defined.setdefault(node.name, Names())
                for part in ast.walk(node):  # self.name = ...
                    if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
                        self.defined.setdefault(part.attr, Names())
            case ast.ClassDef():
                names = self.defined.setdefault(node.name, Names())
                names.bases += [ast.unparse(base).partition("[")[0] for base in node.bases]
                names.add(node.body)
            case ast.Import():
                for alias in node.names:
                    target = alias.name if alias.asname else alias.name.partition(".")[0]
                    self.imported[alias.asname or target] = target
            case ast.ImportFrom():
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            case ast.Assign() | ast.AnnAssign():
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    for part in ast.walk(target):
                        if isinstance(part, ast.Name):
                            self.defined.setdefault(part.id, Names())
            case _:
                for _, value in ast.iter_fields(node):
                    if isinstance(value, list) and all(isinstance(each, ast.stmt) for each in value):
                        self.add(value)
                for handler in getattr(node, "handlers", []):
                    self.add(handler.body)


class Tree:
    """A source tree whose references are checked.

    Args:
        root: its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._modules: dict[str, Names | None] = {}

    @property
    def sources(self) -> list[Path]:
        """All modules of our packages."""
        return [file for package in PACKAGES for file in sorted((self.root / package).rglob("*.py"))]

    @cached_property
    def sections(self) -> set[int]:
        """The sections of the method page."""
        page = self.root / METHOD
        return {
            int(number)
            for number in re.findall(r"^## (\d+)\.", page.read_text(encoding="utf-8") if page.exists() else "", re.M)
        }

    @cached_property
    def file_names(self) -> set[str]:
        """The names of all files."""
        places = [self.root, self.root / "docs", *(self.root / package for package in PACKAGES)]
        return {file.name for place in places for file in place.glob("*" if place == self.root else "**/*")}

    def module(self, name: str) -> Names | None:
        """Return the names of a module; None where there is no such module."""
        if name not in self._modules:
            path = self.root.joinpath(*name.split("."))
            files = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
            names = Names() if files or path.is_dir() else None
            if names is not None and files:
                names.add(ast.parse(files[0].read_text(encoding="utf-8")).body)
            self._modules[name] = names
        return self._modules[name]

    def resolves(self, dotted: str) -> bool:
        """Whether a dotted name is one of our modules, or something in one; names of others only need a package."""
        parts = dotted.split(".")
        if parts[0] not in PACKAGES:
            return hasattr(builtins, parts[0]) or find_spec(parts[0]) is not None
        for length in range(len(parts), 0, -1):
            names = self.module(".".join(parts[:length]))
            if names is not None:
                return self._within(names, ".".join(parts[:length]), parts[length:])
        return False

    def _within(self, names: Names, module: str, parts: list[str]) -> bool:
        """Whether ``names``, of ``module``, hold the attribute that ``parts`` lead to."""
        if not parts:
            return True
        name, *rest = parts
        if name in names.defined:
            return self._within(names.defined[name], module, rest)
        if name in names.imported:
            return self.resolves(".".join([names.imported[name], *rest]))
        owners = (self._absolute(module, base) for base in names.bases)
        return any(self.resolves(".".join([owner, *parts])) for owner in owners if owner.partition(".")[0] in PACKAGES)

    def _absolute(self, module: str, name: str) -> str:
        """The dotted name of what a module calls ``name``."""
        names = self.module(module) or Names()
        first, _, rest = name.partition(".")
        start = f"{module}.{first}" if first in names.defined else names.imported.get(first, first)
        return f"{start}.{rest}" if rest else start

    def resolves_in(self, module: str, target: str, classes: tuple[str, ...] = ()) -> bool:
        """Whether a name means something in a module, within these of its classes."""
        names = self.module(module) or Names()
        parts = target.split(".")
        scopes = [names]
        for name in classes:
            scopes.append(scopes[-1].defined.get(name, Names()))
        return any(self._within(scope, module, parts) for scope in reversed(scopes)) or self.resolves(target)


def texts(source: str) -> Iterator[Text]:
    """Yield the docstrings and comments of a module."""
    yield from _docstrings(ast.parse(source), source.splitlines(), ())
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text(token.start[0], token.string)


def _docstrings(node: ast.AST, lines: list[str], classes: tuple[str, ...]) -> Iterator[Text]:
    """Yield the docstrings within a node: strings that stand as a statement."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant) and isinstance(child.value.value, str):
            end = child.end_lineno or child.lineno
            yield Text(child.lineno, "\n".join(lines[child.lineno - 1 : end]), classes)
        else:
            inner = (*classes, child.name) if isinstance(child, ast.ClassDef) else classes
            yield from _docstrings(child, lines, inner)


def wrong_references(tree: Tree) -> list[str]:
    """Return ``file:line: reference`` for each reference that leads nowhere."""
    problems: list[str] = []
    for file in tree.sources:
        place = file.relative_to(tree.root)
        module = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
        for text in texts(file.read_text(encoding="utf-8")):
            for line, reference in _wrong_in_source(tree, module, text):
                problems.append(f"{place}:{line}: {reference}")
    comments = [
        Text(number, comment)
        for number, line in enumerate(_lines(tree.root / "pyproject.toml"), 1)
        if (comment := line.partition("#")[2])
    ]
    for text in comments:
        for line, reference in [*_wrong_files(tree, text), *_wrong_bare_files(tree, text)]:
            problems.append(f"pyproject.toml:{line}: {reference}")
    for page in (page for pattern in PAGES for page in sorted(tree.root.glob(pattern))):
        for line, reference in _wrong_files(tree, Text(1, page.read_text(encoding="utf-8")), folders=False):
            problems.append(f"{page.relative_to(tree.root)}:{line}: {reference}")
    return sorted(problems)


def _wrong_in_source(tree: Tree, module: str, text: Text) -> Iterator[tuple[int, str]]:
    targets = dict.fromkeys(_ROLE.findall(text.text))
    for target in targets:
        if not tree.resolves_in(module, target, text.classes):
            yield _line(text, target), target
    for match in _DOTTED.finditer(text.text):
        name = match[1]
        if name not in targets and name.rpartition(".")[2] not in _SUFFIXES.split("|") and not tree.resolves(name):
            yield _line(text, name), name
    yield from _wrong_files(tree, text)
    for match in _OLD_METHOD.finditer(text.text):
        yield text.line + text.text[: match.start()].count("\n"), f"METHOD; name {METHOD}"
    for match in _SECTION.finditer(text.text):
        missing = {int(number) for number in re.findall(r"\d+", match[1])} - tree.sections
        if missing:
            yield text.line + text.text[: match.start()].count("\n"), f"{METHOD}, section {sorted(missing)[0]}"


def _wrong_files(tree: Tree, text: Text, *, folders: bool = True) -> Iterator[tuple[int, str]]:
    """Yield the files, and folders, of our tree that are named and not there."""
    for pattern in (_FILE, _FOLDER) if folders else (_FILE,):
        for match in pattern.finditer(text.text):
            if not (tree.root / match[1]).exists():
                yield text.line + text.text[: match.start()].count("\n"), match[1]


def _wrong_bare_files(tree: Tree, text: Text) -> Iterator[tuple[int, str]]:
    """Yield the file names without a folder that no file of ours has."""
    for match in _BARE_FILE.finditer(text.text):
        if match[1] not in tree.file_names:
            yield text.line, match[1]


def _line(text: Text, target: str) -> int:
    return text.line + text.text[: text.text.index(target)].count("\n")


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def test_every_reference_leads_somewhere() -> None:
    assert wrong_references(Tree(ROOT)) == []


RIGHT = '''"""A module of :mod:`sweeps.jobs` and `sweeps.jobs.Job.key` (docs/method.md, sections 1 to 2 and sections/).

See `sweeps/jobs.py`, sweeps/, :class:`Local`, :func:`Local.run`, :class:`Path` and :func:`torch.cuda.synchronize`.
"""

from pathlib import Path
from typing import Protocol

from sweeps.jobs import Job, helper


class Other(Protocol):
    """Has nothing; see :class:`sweeps.jobs.Job`."""


class Local(Job):
    """Inherits :attr:`key` and has :meth:`run`, :attr:`noted` and :data:`field`; REQUEST_METHOD is no page."""

    field: int
    """Of :func:`helper`."""

    def run(self) -> Path:
        """Return what :meth:`run` returns; see ``sweeps.jobs:helper``, /sweeps/runs and own/sweeps/x.py."""
        self.noted = 1  # as `sweeps.jobs` says
        return Path()
'''
JOBS = '''"""Jobs."""

try:
    from os import helper
except ImportError:
    helper = None


class Job:
    @property
    def key(self) -> str: ...
'''


def _write(root: Path, files: Mapping[str, str]) -> Tree:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return Tree(root)


def test_right_references_pass(tmp_path: Path) -> None:
    pyproject = 'dependencies = [\n    "torch",  # sweeps/jobs.py, local.py\n]\n'
    page = "## 1. First\n\n## 2. Second\n\nSee `sweeps/jobs.py` and report-mine.\n"
    files = {"sweeps/jobs.py": JOBS, "sweeps/local.py": RIGHT, "pyproject.toml": pyproject, "docs/method.md": page}
    assert wrong_references(_write(tmp_path, files)) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (":mod:`sweeps.jobs`", ":mod:`sweeps.work`"),
        ("`sweeps.jobs.Job.key`", "`sweeps.jobs.Job.name`"),
        ("`sweeps.jobs.Job.key`", "`sweeps.jobs.Task`"),
        ("as `sweeps.jobs` says", "as sweeps.work says"),
        (":class:`Local`", ":class:`Remote`"),
        (":func:`Local.run`", ":func:`Local.walk`"),
        (":class:`sweeps.jobs.Job`", ":class:`sweeps.jobs.Task`"),
        (":attr:`key`", ":attr:`lock`"),
        (":func:`helper`", ":func:`helpers`"),
        (":func:`torch.cuda.synchronize`", ":func:`torchlight.cuda`"),
        ("`sweeps/jobs.py`", "`sweeps/work.py`"),
        (" sweeps/,", " sweeps/work/,"),
        ("sections 1 to 2", "sections 1 to 3"),
        ("docs/method.md, sections 1 to 2", "METHOD section 1"),
    ],
)
def test_a_wrong_reference_in_a_docstring_is_found(right: str, wrong: str, tmp_path: Path) -> None:
    assert RIGHT.count(right) == 1
    page = "## 1. First\n\n## 2. Second\n"
    source = RIGHT.replace(right, wrong)
    tree = _write(tmp_path, {"sweeps/jobs.py": JOBS, "sweeps/local.py": source, "docs/method.md": page})
    (problem,) = wrong_references(tree)
    number = next(number for number, line in enumerate(source.splitlines(), 1) if wrong in line)
    assert problem.startswith(f"sweeps/local.py:{number}: ")


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("pyproject.toml", "a = 1\nb = 2  # sweeps/work.py\n", "pyproject.toml:2: sweeps/work.py"),
        ("pyproject.toml", "a = 1  # sweeps/jobs.py, work.py\n", "pyproject.toml:1: work.py"),
        ("README.md", "Text.\n\nSee `sweeps/work.py`.\n", "README.md:3: sweeps/work.py"),
        ("docs/method.md", "See `tests/work.py`.\n", "docs/method.md:1: tests/work.py"),
    ],
)
def test_a_wrong_file_name_is_found(file: str, content: str, problem: str, tmp_path: Path) -> None:
    assert wrong_references(_write(tmp_path, {"sweeps/jobs.py": JOBS, file: content})) == [problem]
