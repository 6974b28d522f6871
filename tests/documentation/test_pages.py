"""Every page: its commands exist, its configurations are valid, and the site needs no network."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conclugen.extraction.recipe import load_recipe
from documentation.blocks import Block, blocks, command_lines, mentioned_commands
from documentation.commands import problem_of
from search_spaces import load_space
from sweeps.config import SweepConfig, load_config

ROOT = Path(__file__).parents[2]
PAGES = {
    str(file.relative_to(ROOT)): file.read_text(encoding="utf-8")
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
_COMPLETE: dict[str, Any] = {
    "name": "complete",
    "features": {"pretrain": "set", "downstream": {"set": "set"}},
    "modalities": ["video", "audio", "text"],
    "budget": {"trials_per_subset": 2, "epochs": 20, "seeds": 2},
}


def all_blocks(*languages: str) -> Iterator[Any]:
    for name, page in PAGES.items():
        for block in blocks(page):
            if block.language in languages:
                yield pytest.param(block, id=f"{name}:{block.line}")


@pytest.mark.parametrize("name", PAGES)
def test_each_command_that_a_page_names_exists(name: str) -> None:
    whole = [line for block in blocks(PAGES[name]) if block.language == "bash" for line in command_lines(block)]
    problems = [problem_of(line, whole=True) for line in whole]
    problems += [problem_of(line, whole=False) for line in mentioned_commands(PAGES[name])]
    assert [problem for problem in problems if problem] == []


@pytest.mark.parametrize("block", all_blocks("bash", "python"))
def test_a_block_of_commands_says_whether_a_test_runs_it(block: Block, request: pytest.FixtureRequest) -> None:
    if "README.md" not in request.node.name:  # no comments in front of the first page's few commands
        assert block.note == "run" or re.fullmatch(r"not run: .+", block.note), block.note


@pytest.mark.parametrize("block", all_blocks("yaml"))
def test_a_block_of_yaml_is_valid_as_far_as_it_goes(block: Block, tmp_path: Path) -> None:
    snippet = yaml.safe_load(block.text)
    file = tmp_path / "snippet.yaml"
    if set(snippet) <= set(SweepConfig.model_fields) and not isinstance(snippet.get("modalities"), dict):
        file.write_text(yaml.safe_dump(merged(_COMPLETE, snippet)), encoding="utf-8")
        assert load_config(file, alone=True)
    elif "parameters" in snippet:
        file.write_text(block.text, encoding="utf-8")
        assert load_space(str(file))
    else:
        file.write_text(block.text, encoding="utf-8")
        assert load_recipe(str(file))


def merged(complete: dict[str, Any], snippet: dict[str, Any]) -> dict[str, Any]:
    """``complete`` with the settings of ``snippet``; a budget of the snippet's own kind replaces the trials."""
    result = dict(complete)
    for key, value in snippet.items():
        result[key] = {**result[key], **value} if isinstance(value, dict) and key in result else value
    return result


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_a_host(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert (run.returncode, run.stderr) == (0, "")
    files = [file for suffix in ("html", "css", "js") for file in tmp_path.rglob(f"*.{suffix}")]
    texts = {file.relative_to(tmp_path): file.read_text(encoding="utf-8") for file in files}
    loads = re.compile(r"""(?:<(?:script|img|iframe)[^>]*\ssrc=|<link[^>]*\shref=|url\()["']?https?:""")
    assert [str(file) for file, text in texts.items() if loads.search(text)] == []
    method = texts[Path("method.html")]
    assert "<math" in method
    assert not re.search(r"\\(?:mathrm|mathbb|frac)", method)
