"""The committed reference pages are those that the code makes."""

import pytest

from documentation.reference import FOLDER, pages


@pytest.mark.parametrize("name", pages())
def test_a_reference_page_says_what_the_code_says(name: str) -> None:
    committed = (FOLDER / name).read_text(encoding="utf-8")
    assert committed == pages()[name], "run: python -m documentation"


def test_the_settings_page_says_what_a_setting_is_by_default_and_which_must_be_given() -> None:
    page = pages()["settings.md"].splitlines()
    assert "| `budget.seeds` | `5` | confirmation runs of each subset's best configuration |" in page
    assert any(line.startswith("| `budget.epochs` | required | ") for line in page)
    assert any(line.startswith("| `tracking.tensorboard` | `true` | ") for line in page)


def test_the_page_of_hyperparameters_says_which_values_are_allowed_and_who_uses_them() -> None:
    page = pages()["hyperparameters.md"]
    assert "| `temperature` | `1.0` | a number, above 0 | Con | " in page
    assert "| `weight_gen` | `1.0` | a number, at least 0 | Gen, beside other losses | " in page
    assert "| `kmeans_loss_mode` | `individual` | `individual`, `joint` | Clu | " in page


def test_the_page_of_commands_has_each_command_with_its_options() -> None:
    page = pages()["command-line.md"]
    assert "conclugen sweep run CONFIG --out DIR [OPTIONS]" in page
    assert "| `--trial ID` | required | " in page
    assert "| `--port PORT` | `8080` | " in page


def test_the_page_of_records_explains_every_field_by_its_docstring() -> None:
    page = pages()["ledger.md"]
    assert "| `epochs` | `int` | `0` | Pretraining epochs done. |" in page
    assert [line for line in page.splitlines() if line.endswith("|  |")] == []


def test_the_page_of_the_python_interface_has_signatures_and_arguments() -> None:
    page = pages()["python.md"]
    assert "sweeps.open(folder: str | Path) -> Sweep\n" in page
    assert "Sweep.table(metric: str = 'weighted_f1') -> pandas.DataFrame\n" in page
    assert "* `out`: the sweep folder; must be new or empty.\n" in page
