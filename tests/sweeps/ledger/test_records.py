"""The keys and names of records."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.jobs import Job
from sweeps.ledger import JobKey, Record, Stage

KEYS = st.builds(JobKey, st.sampled_from(get_args(Stage)), st.text(min_size=1), st.integers(min_value=0))


@given(KEYS)
def test_a_key_is_read_from_its_text(key: JobKey) -> None:
    assert JobKey.parse(str(key)) == key


@given(st.text() | st.from_regex(r"(search|confirm)-[a-z]?-?[0-9]*", fullmatch=True))
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
    ],
)
def test_a_job_and_its_record_have_the_same_key(method: str, number: int, key: str) -> None:
    job = Job(stage="search", method=method, number=number, seed=1, hyperparameters={})
    record = Record(sweep="tiny", stage="search", method=method, number=number, seed=1, state="complete")
    assert job.key == record.key == key
