"""Whether a command line in a text exists."""

import pytest

from documentation.commands import problem_of


@pytest.mark.parametrize(
    "line",
    [
        "conclugen --version",
        "conclugen sweep run own.yaml --out runs/own --set budget.seeds=3  # a comment",
        "conclugen report runs/a runs/b --out report-both --compare",
        "conclugen dashboard runs/own --port=0",
    ],
)
def test_a_command_that_exists_has_no_problem(line: str) -> None:
    assert problem_of(line, whole=True) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("conclugen sweep start own.yaml", "conclugen sweep start: no such command"),
        ("conclugen demo --folder x", "conclugen demo: no such option as --folder"),
        ("conclugen sweep run own.yaml", "conclugen sweep run: Missing option '--out'."),
        ("conclugen sweep status", "conclugen sweep status: Missing argument 'DIR'."),
        (
            "conclugen dashboard runs/own --port=high",
            "conclugen dashboard: Invalid value for '--port': Input should be a valid integer",
        ),
    ],
)
def test_a_command_that_does_not_exist_is_told(line: str, problem: str) -> None:
    assert (problem_of(line, whole=True) or "").startswith(problem)


def test_a_mention_may_leave_required_arguments_out() -> None:
    assert problem_of("conclugen sweep run", whole=False) is None
