import pandas as pd

from reports.output.choice import choice_in_words, choice_names, choices_of, combinations, default_choice, fixed
from reports.output.table import Table

COLUMNS = ["meld@10%", "meld", "meld@5", "meld (knn)", "mosi@5"]


def table(columns: list[str], metrics: list[str]) -> Table:
    shown = pd.DataFrame({"row": [f"{column} {metric}" for column, metric in zip(columns, metrics, strict=True)]})
    return Table("t", "Title", "", shown, shown, choices_of(columns, metrics))


def test_a_column_is_chosen_by_its_data_set_with_its_instrument_and_by_its_budget() -> None:
    rows = choices_of([*COLUMNS, ""], ["accuracy"] * 6).to_numpy().tolist()
    assert rows == [
        ["meld", "10%", "accuracy"],
        ["meld", "all", "accuracy"],
        ["meld", "5", "accuracy"],
        ["meld (knn)", "all", "accuracy"],
        ["mosi", "5", "accuracy"],
        ["", "", "accuracy"],
    ]


def test_files_show_the_first_metric_by_the_probe_and_name_it() -> None:
    metrics = ["macro_f1", "macro_f1", "accuracy"]
    shown = fixed(table(["meld", "meld (knn)", "meld"], metrics))
    assert shown.title == "Title: macro F1"
    assert shown.shown["row"].tolist() == ["meld macro_f1"]
    assert shown.choices is None


def test_a_table_that_depends_on_no_metric_is_written_whole() -> None:
    shown = fixed(table(["meld", "mosi"], ["", ""]))
    assert shown.title == "Title"
    assert len(shown.shown) == 2


def test_the_default_is_the_first_data_set_with_all_labels_and_the_first_metric() -> None:
    choices = combinations([table(COLUMNS, ["macro_f1"] * 5), table(["meld"], ["accuracy"]), table([""], ["nll"])])
    assert choices == [
        ("meld", "5", "macro_f1"),
        ("meld", "10%", "macro_f1"),
        ("meld", "all", "macro_f1"),
        ("meld", "all", "accuracy"),
        ("meld (knn)", "all", "macro_f1"),
        ("mosi", "5", "macro_f1"),
    ]
    assert default_choice(choices) == {"dataset": "meld", "labels": "all", "metric": "macro_f1"}
    assert default_choice(choices, "10%")["labels"] == "10%"
    assert default_choice(choices[-1:])["labels"] == "5"
    assert default_choice([]) == {}


def test_choices_are_said_in_words() -> None:
    assert choice_in_words({"metric": "weighted_f1", "dataset": "meld", "labels": "all"}) == (
        "meld, all labels, weighted F1"
    )
    assert list(choice_names("labels", ["1", "5", "2.5%"]).values()) == [
        "1 label per class",
        "5 labels per class",
        "2.5 % of the labels",
    ]
