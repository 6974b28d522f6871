"""Joining columns of several files by identifier, against sets of identifiers."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from conclugen.formats.joining import Joined, Place, join, reason_of
from conclugen.formats.table import Column, Table

_IDS = [f"clip{number}" for number in range(6)]
_some_ids = st.lists(st.sampled_from(_IDS), unique=True)


def _place(name: str, ids: list[str], empty: set[str]) -> Place:
    """A modality of these rows, of which those in ``empty`` have no features."""
    missing = {row: "no frame" for row, key in enumerate(ids) if key in empty}
    column = Column(key=name, kind="vector", shape="", width=2, missing=missing)

    def blocks(keys: object) -> Iterator[dict[str, list[str]]]:
        yield {}

    return Place(Table(name=name, ids=ids, columns={name: column}, blocks=blocks), column)


def _listed(joined: Joined) -> set[str]:
    return {key for ids in joined.left_out.values() for key in ids}


@given(
    there=st.fixed_dictionaries({name: st.tuples(_some_ids, st.sets(st.sampled_from(_IDS))) for name in "vat"}),
    labelled=st.none() | st.dictionaries(st.sampled_from(_IDS), st.sampled_from(["joy", None])),
    keep_incomplete=st.booleans(),
)
def test_rows_are_the_intersection_of_modalities_or_their_union(
    there: dict[str, tuple[list[str], set[str]]], labelled: dict[str, object] | None, keep_incomplete: bool
) -> None:
    places = {name: [_place(name, ids, empty)] for name, (ids, empty) in there.items()}
    sets = {name: {*ids} - empty for name, (ids, empty) in there.items()}
    values = {} if labelled is None else {"label": labelled}
    problems: list[str] = []
    joined = join(places, values, problems, keep_incomplete=keep_incomplete)
    combined = set.union(*sets.values()) if keep_incomplete else set.intersection(*sets.values())
    expected = combined if labelled is None else {key for key in combined if labelled.get(key) is not None}
    assert {*joined.ids} == expected
    assert len(joined.ids) == len(expected)
    assert bool(problems) == (not expected)
    mentioned = {key for ids, _ in there.values() for key in ids} | set(labelled or ())
    assert _listed(joined) == mentioned - expected  # every other row is listed
    assert joined.lacking.keys() == {key for key in expected if not all(key in ids for ids in sets.values())}
    for key, lacking in joined.lacking.items():
        assert [*lacking] == [name for name in there if key not in sets[name]]


def test_reasons_say_what_is_missing_and_why() -> None:
    places = {"v": [_place("v", ["a", "b"], set())], "a": [_place("a", ["a"], {"a"})]}
    joined = join(places, {}, [], keep_incomplete=True)
    assert [reason_of(lacking) for lacking in joined.lacking.values()] == ["no a (no frame)", "no a"]
