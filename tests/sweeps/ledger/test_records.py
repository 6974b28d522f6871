"""The keys and names of records, and the settings that records of an earlier version lack."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conclugen.labels import LabelBudget
from sweeps.jobs import Job
from sweeps.ledger import (
    BASELINES,
    LOSSES,
    JobKey,
    Predictions,
    Record,
    Stage,
    method_of,
    search_of,
    variant,
    with_former_settings,
    without_search,
)

KEYS = st.builds(JobKey, st.sampled_from(get_args(Stage)), st.text(min_size=1), st.integers(min_value=0))


@given(KEYS)
def test_a_key_is_read_from_its_text(key: JobKey) -> None:
    assert JobKey.parse(str(key)) == key


@given(st.text() | st.from_regex(r"(search|finalist|confirm)-[a-z]?-?[0-9]*", fullmatch=True))
def test_a_text_that_is_read_as_a_key_is_the_text_of_that_key(text: str) -> None:
    try:
        key = JobKey.parse(text)
    except ValueError:
        return
    assert str(key) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "search-Con",
        "search-Con-3",
        "search-Con-0003",
        "search-Con-000003",
        "search-Con-+0003",
        "search-Con-٠٠٠٠٣",
        "search-Con-00003\n",
        "search--00003",
        "search-00003",
        "probe-Con-00003",
        " search-Con-00003",
        ".nfs0001",
    ],
)
def test_a_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no key of a job, such as search-Con-00003"):
        JobKey.parse(text)


@pytest.mark.parametrize(
    ("method", "number", "key"),
    [
        ("Con", 3, "search-Con-00003"),
        ("Con[video-audio]@10%", 0, "search-Con[video-audio]@10%-00000"),
        ("SimCLR", 123456, "search-SimCLR-123456"),
        ("Con[video]@5~2", 7, "search-Con[video]@5~2-00007"),
    ],
)
def test_a_job_and_its_record_have_the_same_key(method: str, number: int, key: str) -> None:
    job = Job(stage="search", method=method, number=number, seed=1, hyperparameters={})
    record = Record(sweep="tiny", stage="search", method=method, number=number, seed=1, state="complete")
    assert job.key == record.key == key


modality_names = st.lists(st.text(st.characters(exclude_characters="[]"), min_size=1), max_size=3)
label_budgets = st.sampled_from([None, LabelBudget(), LabelBudget(per_class=5), LabelBudget(fraction=0.1), "5"])


@given(st.sampled_from([*LOSSES, *BASELINES]), modality_names, label_budgets, st.integers(1, 200))
def test_the_method_and_the_search_are_read_from_a_name(
    method: str, modalities: list[str], labels: LabelBudget | str | None, search: int
) -> None:
    name = variant(method, modalities, labels, search)
    assert (method_of(name), search_of(name)) == (method, search)
    assert without_search(name) == variant(method, modalities, labels)


def test_the_first_search_has_no_number_and_a_later_one_comes_last() -> None:
    assert variant("Con", ["video"], LabelBudget(per_class=5)) == "Con[video]@5"
    assert variant("Con", ["video"], LabelBudget(per_class=5), 2) == "Con[video]@5~2"
    assert variant("raw_features", [], search=12) == "raw_features~12"


def test_a_modality_that_looks_like_a_search_is_no_search() -> None:
    name = variant("Con", ["a~2"])
    assert (method_of(name), search_of(name), without_search(name)) == ("Con", 1, "Con[a~2]")


def test_a_former_configuration_is_completed_by_what_its_version_did() -> None:
    former = {"name": "s", "probe": {"lr": 1}, "budget": {"seeds": 5}, "search": {"nested": []}}
    assert with_former_settings(former) == {
        "name": "s",
        "probe": {"lr": 1, "kind": "paper", "also": [], "selection": "validation"},
        "budget": {"seeds": 5, "searches": 1},
        "search": {"nested": [], "finalists": 1},
    }


@pytest.mark.parametrize(
    "config",
    [
        {"probe": {"kind": "knn"}, "budget": {"searches": 3}, "search": {"finalists": 5}},
        {"name": "s"},
        {"probe": None, "budget": "much", "search": []},
    ],
)
def test_a_configuration_that_lacks_no_setting_of_its_sections_stays_itself(config: dict[str, Any]) -> None:
    assert with_former_settings(config) is config


NAMES = st.lists(st.sampled_from(["speaker", "dialogue", "video"]), unique=True)


@given(NAMES, st.integers(0, 5))
def test_groupings_are_what_was_written_one_after_the_other(names: list[str], n: int) -> None:
    ways = {name: [place * n + sample for sample in range(n)] for place, name in enumerate(names)}
    flat = [number for groups in ways.values() for number in groups]
    assert Predictions("d", "", 0, 0, ["a"], False, [0] * n, [0] * n, groups=flat, grouped_by=names).groupings == ways


def test_groups_without_a_name_are_speakers() -> None:
    """Version 6 of the schema knew no other groups."""
    assert Predictions("d", "", 0, 0, ["a"], False, [0], [0], groups=[3]).groupings == {"speaker": [3]}
