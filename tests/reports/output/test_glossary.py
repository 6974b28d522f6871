import re

import pytest

from reports.output.glossary import TERMS, Term, terms_in


def found(text: str, seen: set[Term] | None = None) -> list[str]:
    return [term.name for _, term in terms_in(text, set() if seen is None else seen) if term]


def test_names_spellings_and_anchors_of_terms_differ() -> None:
    spellings = [spelling for term in TERMS for spelling in (term.name, *term.spellings)]
    assert len(set(spellings)) == len(spellings)
    assert len({term.anchor for term in TERMS}) == len(TERMS)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
def test_an_explanation_has_at_most_three_sentences_and_ends(term: Term) -> None:
    assert term.text.endswith(".")
    assert len(re.split(r"(?<=[.]) (?=[A-Z])", term.text)) <= 3
    assert not term.source.endswith(".")


def test_the_longest_term_wins_and_each_is_found_once() -> None:
    text = "balanced accuracy, accuracy, accuracy and weighted F1"
    assert found(text) == ["balanced accuracy", "accuracy", "weighted F1"]
    assert "".join(piece for piece, _ in terms_in(text, set())) == text


def test_a_part_of_a_word_is_no_term() -> None:
    assert found("reopened unsettled macro_f1 random_heads pre-search") == []


def test_a_term_that_was_explained_stays_text() -> None:
    seen = set[Term]()
    assert found("Holm", seen) == ["Holm"]
    assert found("Holm's method and fANOVA", seen) == ["fANOVA"]
