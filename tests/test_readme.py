"""Tests of the README: it stays short, its links lead somewhere, and its numbers are those of the documentation."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def test_the_readme_can_be_read_in_a_minute() -> None:
    assert len(README.splitlines()) <= 150
    assert len(README.encode()) <= 10_000


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)[^)]*\)", README))))
def test_a_link_of_the_readme_leads_somewhere(target: str) -> None:
    assert target.startswith("https://") or (ROOT / target).exists()


@pytest.mark.parametrize("target", re.findall(r"make ([a-z-]+)", README))
def test_each_target_of_make_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def _cells(method: str, page: str) -> str:
    """The cells of the rows of a method's scores."""
    rows = [line for line in page.splitlines() if re.match(rf"\| `?{method}`?(?: \([a-z ]+\))? \|", line)]
    return " ".join(rows).replace("*", "")


@pytest.mark.parametrize("method", ["raw_features", "label_spreading", "Con", "Gen", "ConCluGen"])
def test_the_scores_of_the_readme_are_those_of_the_results(method: str) -> None:
    scores = re.findall(r"\d\.\d{3} ± \d\.\d{3}", _cells(method, README))
    assert len(scores) == 2
    assert [score for score in scores if score not in _cells(method, RESULTS)] == []
