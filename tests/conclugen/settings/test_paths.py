"""Paths that users write mean what they mean in a shell."""

from pathlib import Path

import pytest

from conclugen.settings.paths import PathError, expanded


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.delenv("NOWHERE", raising=False)
    monkeypatch.delenv("ELSEWHERE", raising=False)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("~/sets/a", "/home/me/sets/a"),
        ("~", "/home/me"),
        ("$DATA/a", "/data/a"),
        ("${DATA}_2/$DATA", "/data_2//data"),
        ("a/~/b", "a/~/b"),
        ("plain", "plain"),
        ("costs 5 $", "costs 5 $"),
    ],
)
def test_home_and_variables_are_replaced(path: str, expected: str) -> None:
    assert expanded(path) == expected


def test_every_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(PathError) as caught:
        expanded("$NOWHERE/$DATA/${ELSEWHERE}/$NOWHERE")
    assert str(caught.value) == "the environment has no variables NOWHERE, ELSEWHERE; set them."


def test_a_user_that_there_is_not_is_named() -> None:
    with pytest.raises(PathError, match=r"there is no user 'nobody-here'; write \./~nobody-here/a for a file"):
        expanded("~nobody-here/a")


def test_a_file_whose_name_holds_a_dollar_sign_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "a$NOWHERE").touch()
    assert expanded("a$NOWHERE", tmp_path) == "a$NOWHERE"
