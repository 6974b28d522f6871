"""A configuration is loaded whole, or all its problems are listed at once."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conclugen.features.importing import import_arrays
from search_spaces import named_space_text
from sweeps.config import ConfigError, SweepConfig, load_config
from sweeps.folder.layout import SweepFolder
from tests.conftest import write_planted

WriteConfig = Callable[..., Path]


def problems_of(path: Path, overrides: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return caught.value.problems


def test_missing_settings_have_defaults(write_config: WriteConfig) -> None:
    config = load_config(write_config(budget={"trials_per_subset": 3, "epochs": 12}))
    assert config.subsets == ("Con", "Clu", "Gen", "ConClu", "ConGen", "CluGen", "ConCluGen")
    assert (config.budget.seeds, config.budget.searches) == (5, 1)
    assert config.probe_epochs == (2, 4, 6, 8, 10, 12)
    assert config.seed == 127


def test_three_finalists_are_the_default_and_a_written_configuration_without_the_setting_has_one(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    path = write_config()
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    del document["search"]["finalists"]
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert load_config(path).search.finalists == 3
    written = load_config(path, written=True)
    assert (written.search.finalists, written.budget.searches) == (1, 1)
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(load_config(path, ["budget.searches=2"]))
    again = load_config(folder.config, written=True)
    assert (again.search.finalists, again.budget.searches) == (3, 2)


@pytest.mark.parametrize("setting", ["budget.searches", "search.finalists"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "true", "null", "1001"])
def test_numbers_of_searches_and_finalists_are_whole_and_positive(
    write_config: WriteConfig, setting: str, value: str
) -> None:
    (problem,) = problems_of(write_config(), (f"{setting}={value}",))
    assert problem.startswith(f"{setting}: ")


def test_every_search_of_a_method_is_an_arm(write_config: WriteConfig) -> None:
    path = write_config(subsets=["Con"], baselines=["raw_features", "SimCLR"], modality_subsets=[["video", "text"]])
    config = load_config(path, ["budget.searches=2"])
    assert list(config.arms) == ["Con", "SimCLR", "Con~2", "SimCLR~2"]
    confirmed = [arm.name for arm in config.confirmed_on(config.arms["Con~2"])]
    assert confirmed == ["Con~2", "Con[video-text]~2"]
    assert [arm.name for arm in config.untuned] == [
        *("raw_features", "raw_features[video-text]", "raw_features~2", "raw_features[video-text]~2"),
    ]


def test_the_last_probe_comes_after_the_whole_budget_even_if_steps_do_not_fit(write_config: WriteConfig) -> None:
    config = load_config(write_config(probe={"every": 3}), ["budget.epochs=8"])
    assert config.probe_epochs == (3, 6, 8)


def test_every_problem_is_listed_at_once(write_config: WriteConfig) -> None:
    path = write_config(
        name="no good name",
        modalities=["video", "smell"],
        subsets=["Con", "ConConCon"],
        budget={"trials_per_subset": 0, "epochs": 4, "sedes": 3},
        objective={"metric": "f7"},
        workers={"gpus": 7},
    )
    problems = problems_of(path)
    for field in (
        "name",
        "modalities",
        "subsets.1",
        "budget.trials_per_subset",
        "budget.sedes",
        "objective.metric",
        "workers.gpus",
    ):
        assert any(problem.startswith(f"{field}:") for problem in problems), (field, problems)
    assert len(problems) == len(set(problems))


def test_missing_sections_are_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("name: x", encoding="utf-8")
    assert problems_of(path) == [
        "features: is required; add it.",
        "modalities: is required (feature columns that are used, in the order of the contrastive ring); add it.",
        "budget: is required; add it.",
    ]


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text", "a: [1\n", "", "\x00"])
def test_a_file_without_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    assert len(problems_of(path)) == 1


def test_a_missing_feature_set_is_refused_with_the_command_that_makes_one(
    write_config: WriteConfig, planted: Path
) -> None:
    path = write_config(features={"pretrain": "nowhere", "downstream": {"planted": str(planted)}})
    (problem,) = problems_of(path)
    assert problem.startswith("features.pretrain:")
    assert "conclugen features import" in problem


def test_sets_whose_names_look_alike_are_refused(write_config: WriteConfig, planted: Path) -> None:
    """Their files in a report would replace each other where a file system ignores case."""
    sets = {"pretrain": str(planted), "downstream": {"meld": str(planted), "MELD": str(planted)}}
    (problem,) = problems_of(write_config(features=sets))
    assert problem.startswith("features.downstream: MELD, meld look alike")


def test_relative_paths_count_from_the_configuration_file(
    write_config: WriteConfig, planted: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(planted)
    path = write_config(features={"pretrain": "link", "downstream": {"planted": "link"}})
    monkeypatch.chdir("/")
    assert load_config(path).features.pretrain == planted


def test_overrides_replace_nested_values(write_config: WriteConfig) -> None:
    config = load_config(write_config(), ["budget.epochs=6", "subsets=[Gen]", "workers.gpus=0", "checkpoint.every=2"])
    assert (config.budget.epochs, config.subsets, config.workers.gpus, config.checkpoint.every) == (6, ("Gen",), 0, 2)


@pytest.mark.parametrize("override", ["budget.epochs", "=3", "budget..epochs=3", "name.first=3", "seed=[1"])
def test_a_malformed_override_is_listed_with_the_other_problems(write_config: WriteConfig, override: str) -> None:
    problems = problems_of(write_config(objective={"metric": "f7"}), (override,))
    assert any(problem.startswith("--set") for problem in problems)
    assert any(problem.startswith("objective.metric:") for problem in problems)


SETTINGS = st.sampled_from(["name", "seed", "space", "storage", "subsets", "budget", "budget.epochs", "probe.also"])
OVERRIDES = st.text(max_size=30) | st.text(alphabet="abns.=[]{}:, 0123", max_size=20)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(override=OVERRIDES | st.builds("{}={}".format, SETTINGS, OVERRIDES))
def test_an_override_raises_nothing_but_a_list_of_problems(write_config: WriteConfig, override: str) -> None:
    with suppress(ConfigError):
        load_config(write_config(), [override])


def test_a_space_that_contradicts_the_budget_is_refused(write_config: WriteConfig, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_bytes(named_space_text("paper"))
    problems = problems_of(write_config(), (f"space={own}", "subsets=[ConClu]", "budget.epochs=100"))
    assert all(problem.startswith(f"space: {own}: ") for problem in problems)
    assert any("kmeans_queue_size: a queue of 128 batches never fills" in problem for problem in problems)
    assert any("num_clusters: 128 clusters of a batch of 60 samples" in problem for problem in problems)


def test_clustering_that_would_start_after_the_first_probe_is_refused(write_config: WriteConfig) -> None:
    problems = problems_of(write_config(), ("space=paper", "subsets=[ConClu]", "budget.epochs=20"))
    assert any("kmeans_start_epoch" in problem and "first judged after epoch 8" in problem for problem in problems)


def test_the_written_configuration_loads_to_the_same_sweep(write_config: WriteConfig, tmp_path: Path) -> None:
    config = load_config(write_config())
    folder = SweepFolder(tmp_path / "elsewhere")
    folder.prepare(config)
    space = str(folder.root / "space.yaml")
    assert load_config(folder.config) == config.model_copy(update={"space": space})
    assert yaml.safe_load(folder.config.read_text(encoding="utf-8"))["search"]["pruner"] == "median"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"modality_subsets": [["video", "text"], ["text", "video"]]}, "is listed twice"),
        ({"modality_subsets": [["video"]]}, "at least two"),
        ({"modality_subsets": [["video", "audio", "text"]]}, "some, not all"),
        ({"storage": "foo"}, "storage: 'foo': is no database URL"),
        ({"storage": "postgresql://u:secret@h/db"}, "put it into the environment"),
        ({"storage": "sqlite:///st.db"}, "names a relative file"),
        ({"tracking": {"mlflow": {"tracking_uri": "runs", "experiment": "e"}}}, "must be a server (http, https) or a"),
        ({"tracking": {"mlflow": {"tracking_uri": "https://me:key@h", "experiment": "e"}}}, "holds credentials"),
        ({"tracking": {"mlflow": {"tracking_uri": "mysql://u:secret@h/d", "experiment": "e"}}}, "into the environment"),
        ({"tracking": {"mlflow": {"tracking_uri": "https://h"}}}, "tracking.mlflow.experiment: is required"),
        ({"tracking": {"wandb": {"project": "p", "api_key": "k"}}}, "tracking.wandb.api_key: is no setting"),
        ({"baselines": ["raw"]}, "is no baseline; allowed are all, [] for none, or a list of raw_features"),
        ({"baselines": False}, "baselines.0: false: is no baseline; allowed are all, [] for none"),
        ({"subsets": "ALL"}, "Did you mean all?"),
        (
            {"space": {"lr": 0.1}},
            "must be default, paper or small, or a YAML file; the parameters go into such a file.",
        ),
        ({"probe": "knn"}, "probe: 'knn': must have settings of its own, each a line `name: value`; allowed are kind"),
        ({"probe": {"fusion": "smell"}}, "fusion: 'smell' must be one of concat, mean, video, audio, text"),
        ({"objective": {"labels_per_class": 2, "label_fraction": 0.1}}, "exclude each other"),
        ({"budget": {"trials_per_subset": True, "epochs": 4}}, "budget.trials_per_subset"),
        ({"search": {"stop_when": {"improvement": 0}}}, "search.stop_when.improvement: 0: must be greater than 0"),
        ({"search": {"stop_when": {"trials": 1}}}, "search.stop_when.improvement: is required"),
        ({"search": {"stop_when": 0.001}}, "search.stop_when: 0.001: must have settings of its own"),
        ({"search": {"stop_when": {"improvement": 0.1}}}, "search.stop_when.trials: 8 must be below budget.trials_per"),
    ],
)
def test_an_invalid_setting_is_refused_with_its_rule(
    write_config: WriteConfig, settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(**settings))
    assert any(expected in problem for problem in caught.value.problems), caught.value.problems


def test_modality_subsets_take_the_sweeps_order_and_survive_being_written(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    config = load_config(write_config(modality_subsets=[["text", "video"], ["text", "audio"]], baselines="all"))
    assert config.modality_subsets == (("video", "text"), ("audio", "text"))
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    space = str(folder.root / "space.yaml")
    assert load_config(folder.config) == config.model_copy(update={"space": space})


def test_a_password_stays_in_the_environment(write_config: WriteConfig, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(load_config(write_config(storage="postgresql://u:${SECRET}@h/db")))
    assert "${SECRET}" in folder.config.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("rest", "named"),
    [
        ("u:hunter2@h/db", "password"),
        ("h/db?user=u&password=hunter2", "password"),
        ("h/db?passwd=hunter2&passwd=hunter3", "passwd"),
        ("u@h/db?sslkey=k&sslpassword=hunter2", "sslpassword"),
        ("h/db?password=${SECRET}hunter2", "password"),
        ("h/db?odbc_connect=DRIVER%3Dx%3BUID%3Du%3BPWD%3Dhunter2", "PWD"),
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(write_config: WriteConfig, rest: str, named: str) -> None:
    url = f"postgresql://{rest}"
    problems = problems_of(write_config(storage=url, tracking={"mlflow": {"tracking_uri": url, "experiment": "e"}}))
    message = f"holds a secret ({named}); put it into the environment, and ${{ITS_VARIABLE}} here."
    assert problems == [f"storage: {message}", f"tracking.mlflow.tracking_uri: {message}"]


@pytest.mark.parametrize(
    "rest", ["u:${S}@h/db?sslpassword=${T}", "h/db?user=u&password=${S}", "u@h/db?passfile=/f&sslmode=require"]
)
def test_a_url_may_hold_variables_and_options_that_are_no_secret(write_config: WriteConfig, rest: str) -> None:
    assert load_config(write_config(storage=f"postgresql://{rest}")).storage == f"postgresql://{rest}"


def test_a_sweep_folder_keeps_a_copy_of_the_users_space(write_config: WriteConfig, tmp_path: Path) -> None:
    space = shutil.copy(load_config(write_config()).space, tmp_path / "mine.yaml")
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(load_config(write_config(space=str(space))))
    Path(space).unlink()
    folder.root.rename(tmp_path / "moved")
    assert load_config(tmp_path / "moved" / "config.yaml").space == str(tmp_path / "moved" / "space.yaml")


def test_a_configuration_can_be_loaded_without_its_feature_sets(write_config: WriteConfig, planted: Path) -> None:
    path = write_config(features={"pretrain": "gone", "downstream": {"planted": "gone, too"}}, modalities=["a", "b"])
    assert load_config(path, alone=True).modalities == ("a", "b")
    assert len(problems_of(path)) == 2


@pytest.mark.parametrize("text", ["a: [1", "[" * 3000])
def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        load_config(tmp_path / "bad.yaml")


def test_a_space_beside_the_configuration_is_found_from_anywhere(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny").write_text((tmp_path / "tiny.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    config = write_config(space="tiny")
    monkeypatch.chdir("/")
    assert load_config(config).space == str(tmp_path / "tiny")


@pytest.mark.parametrize(
    ("budget", "got"),
    [({}, "none of them"), ({"hours": 1, "trials_per_subset": 3}, "trials_per_subset and hours")],
)
def test_a_budget_is_measured_one_way(write_config: WriteConfig, budget: dict[str, Any], got: str) -> None:
    (problem,) = problems_of(write_config(budget={"epochs": 4, **budget}))
    assert problem == f"budget.trials_per_subset: give one of trials_per_subset, hours and gpu_hours, but got {got}."


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"objective": {"metric": "f1"}},
            "objective.metric: 'f1': is no metric; allowed are accuracy, balanced_accuracy, weighted_f1, "
            "weighted_precision, weighted_recall, macro_f1, macro_precision, macro_recall, f1/<class>, "
            "precision/<class>, recall/<class>.",
        ),
        (
            {"objective": {"metric": "recall/d"}},
            "objective.metric: 'recall/d' must be one that planted has: accuracy, balanced_accuracy, "
            "weighted_f1, weighted_precision, weighted_recall, macro_f1, macro_precision, macro_recall, f1/a, f1/b, "
            "f1/c, precision/a, precision/b, precision/c, recall/a, recall/b, recall/c.",
        ),
        (
            {"objective": {"dataset": "faces"}},
            "objective.dataset: 'faces' is no set of features.downstream, which has",
        ),
        (
            {"search": {"nested": ["modalities"]}},
            "search.nested: modalities has nothing to search without modality_subsets",
        ),
        (
            {"search": {"nested": ["labels"]}, "probe": {"labels_per_class": []}},
            "search.nested: labels has nothing to search without label budgets of the probe",
        ),
        (
            {"search": {"sampler": "grid", "share_best": True}, "space": "small"},
            "search.sampler: a grid visits its own points only; drop warm_start and share_best",
        ),
        ({"search": {"warm_start": "nowhere"}}, "is no sweep's folder (config.yaml is missing)"),
        (
            {"workers": {"gpus": 0}, "budget": {"gpu_hours": 1, "epochs": 4}},
            "workers.gpus: none, so no gpu_hours of the budget are ever used; give budget.hours",
        ),
    ],
)
def test_search_options_that_cannot_work_are_refused(
    write_config: WriteConfig, settings: dict[str, Any], expected: str
) -> None:
    assert any(expected in problem for problem in problems_of(write_config(**settings)))


def test_a_grid_needs_a_number_of_trials(write_config: WriteConfig, tmp_path: Path) -> None:
    space = tmp_path / "finite.yaml"
    space.write_text(
        "description: x\nparameters: {batch_size: 20, warmup_epochs: 1, projection_dim: 8}\n", encoding="utf-8"
    )
    settings = {"space": str(space), "search": {"sampler": "grid"}, "subsets": ["Con"]}
    problems = problems_of(write_config(**settings, budget={"hours": 1, "epochs": 4}))
    assert [p.partition(": ")[2].partition(": ")[2] for p in problems] == [
        "a grid needs a number of trials, not a time; give budget.trials_per_subset."
    ]


@pytest.fixture
def late(tmp_path: Path) -> dict[str, Any]:
    """Return settings of four epochs whose clustering starts in the last, which is number 3."""
    space = tmp_path / "late.yaml"
    space.write_text(
        "description: x\nparameters: {batch_size: 20, warmup_epochs: 1, kmeans_queue_size: 0, num_clusters: 4,"
        " kmeans_start_epoch: {fixed: 3, min_losses: 2}}\n",
        encoding="utf-8",
    )
    return {"space": str(space), "subsets": ["ConClu"]}


def test_the_remedies_for_clustering_that_starts_late_help(write_config: WriteConfig, late: dict[str, Any]) -> None:
    (problem,) = problems_of(write_config(**late, probe={"every": 1}, search={"grace_period": 0.0}))
    assert problem.endswith("lower it below 1, set probe.every to 4, or search.pruner to none.")
    for search, enough in (({}, 8), ({"grace_period": 0.0}, 20)):
        path = write_config(**late, search=search)
        (problem,) = problems_of(path)
        assert f"raise budget.epochs to {enough}, set probe.every to 4, or search.pruner to none" in problem
        for remedy in (f"budget.epochs={enough}", "probe.every=4", "search.pruner=none"):
            load_config(path, [remedy])
        assert len(problems_of(path, (f"budget.epochs={enough - 1}",))) == 1


@pytest.mark.parametrize("pruner", ["median", "none"])
def test_clustering_that_would_start_after_the_last_epoch_is_refused(
    write_config: WriteConfig, late: dict[str, Any], pruner: str
) -> None:
    (problem,) = problems_of(write_config(**late, search={"pruner": pruner}), ("budget.epochs=3",))
    assert "clustering would begin after the last; lower it below 3, or raise budget.epochs above 3" in problem


IDLE = {"layers": 2, "hidden_dim": 64, "lr": 0.1, "patience": 15}
"""Settings of the paper's probe, none with its default."""


class TestInstruments:
    def test_the_probe_is_logistic_and_alone_by_default(self, write_config: WriteConfig) -> None:
        config = load_config(write_config())
        assert (config.probe.kind, config.probe.also, config.probe.selection) == ("logistic", (), "budget")
        assert config.checkpoint.probabilities

    def test_each_idle_setting_of_the_papers_probe_is_refused_with_its_remedy(self, write_config: WriteConfig) -> None:
        assert problems_of(write_config(probe={**IDLE, "also": ["knn"]})) == [
            f"probe.{name}: {value!r} is a setting of the paper's probe, which this sweep does not use; give "
            "probe.kind: paper or probe.also: [paper], or drop it."
            for name, value in IDLE.items()
        ]

    @pytest.mark.parametrize("name", IDLE)
    def test_one_idle_setting_is_one_problem(self, write_config: WriteConfig, name: str) -> None:
        (problem,) = problems_of(write_config(probe={name: IDLE[name]}))
        assert problem.startswith(f"probe.{name}: ")

    @pytest.mark.parametrize("probe", [{"kind": "paper"}, {"also": ["paper"]}, {"kind": "paper", "also": ["logistic"]}])
    def test_the_papers_probe_has_its_settings_where_it_is_used(
        self, write_config: WriteConfig, probe: dict[str, Any]
    ) -> None:
        loaded = load_config(write_config(probe={**IDLE, **probe})).probe
        assert {name: getattr(loaded, name) for name in IDLE} == IDLE

    def test_the_remedies_of_an_idle_setting_help(self, write_config: WriteConfig) -> None:
        path = write_config(probe={"lr": 0.1})
        assert problems_of(path)
        for remedy in ("probe.kind=paper", "probe.also=[paper]", "probe.lr=0.00967"):
            load_config(path, [remedy])

    @pytest.mark.parametrize("kind", ["logistic", "paper"])
    def test_an_instrument_that_is_the_probe_itself_is_refused(self, write_config: WriteConfig, kind: str) -> None:
        (problem,) = problems_of(write_config(probe={"kind": kind, "also": ["knn", kind]}))
        assert problem == f"probe.also: {kind} is the probe itself; drop it there, or choose another kind."

    @pytest.mark.parametrize(
        ("probe", "expected"),
        [
            ({"kind": "svm"}, "probe.kind: 'svm': must be logistic or paper."),
            ({"kind": "knn"}, "probe.kind: 'knn': must be logistic or paper."),
            ({"also": ["svm"]}, "probe.also.0: 'svm': must be logistic, knn or paper."),
            ({"also": ["knn", "knn"]}, "names something twice"),
            ({"selection": "test"}, "probe.selection: 'test': must be validation or budget."),
        ],
    )
    def test_an_unknown_instrument_is_refused(
        self, write_config: WriteConfig, probe: dict[str, Any], expected: str
    ) -> None:
        (problem,) = problems_of(write_config(probe=probe))
        assert expected in problem

    @pytest.mark.parametrize("metric", ["nll", "brier", "ece", "average_precision"])
    def test_a_metric_of_probabilities_is_refused_as_objective(self, write_config: WriteConfig, metric: str) -> None:
        (problem,) = problems_of(write_config(objective={"metric": metric}))
        assert f"objective.metric: {metric!r}: is no metric" in problem

    def test_a_configuration_of_an_earlier_version_uses_the_papers_probe(self, write_config: WriteConfig) -> None:
        path = write_config(probe={"lr": 0.1})
        probe = load_config(path, written=True).probe
        assert (probe.kind, probe.also, probe.selection, probe.lr) == ("paper", (), "validation", 0.1)
        overridden = load_config(path, ["probe.kind=logistic", "probe.lr=0.00967"], written=True).probe
        assert (overridden.kind, overridden.selection) == ("logistic", "validation")


class TestWriting:
    """What a user writes is read as it is meant, or refused."""

    @pytest.mark.parametrize(
        ("override", "field", "value"),
        [
            ("subsets=Con", "subsets", ("Con",)),
            ("subsets=Con, ConGen", "subsets", ("Con", "ConGen")),
            ("modalities=video,audio", "modalities", ("video", "audio")),
            ("baselines=raw_pca", "baselines", ("raw_pca",)),
            ("baselines=null", "baselines", ()),
            ("modality_subsets=video,text", "modality_subsets", (("video", "text"),)),
            ("modality_subsets=[video,text]", "modality_subsets", (("video", "text"),)),
            ("probe.label_fraction=1e-1", "probe.label_fraction", (0.1,)),
            ("probe.labels_per_class=2,5", "probe.labels_per_class", (2, 5)),
            ("probe.also=knn,paper", "probe.also", ("knn", "paper")),
            ("search.nested=labels", "search.nested", ("labels",)),
            (" budget.epochs = 6", "budget.epochs", 6),
            ("workers.wait_minutes=1e-1", "workers.wait_minutes", 0.1),
        ],
    )
    def test_one_value_or_values_between_commas_are_a_list_where_one_is_wanted(
        self, write_config: WriteConfig, override: str, field: str, value: Any
    ) -> None:
        config: Any = load_config(write_config(), [override])
        for name in field.split("."):
            config = getattr(config, name)
        assert config == value

    def test_a_file_takes_the_same_lists(self, write_config: WriteConfig) -> None:
        config = load_config(write_config(subsets="Con, Gen", modalities="video, audio, text"))
        assert (config.subsets, config.modalities) == (("Con", "Gen"), ("video", "audio", "text"))

    def test_a_section_whose_lines_are_all_comments_has_its_defaults(self, write_config: WriteConfig) -> None:
        assert load_config(write_config(workers=None)).workers.per_trial == 1

    def test_equal_keys_and_ambiguous_values_are_refused_with_their_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "sweep.yaml"
        path.write_text(
            "name: x\nprobe:\n  kind: paper\nprobe:\n  layers: 2\nbudget: {hours: 1:30, epochs: 010}\n", "utf-8"
        )
        assert problems_of(path) == [
            f"{path}: line 4: probe: is given twice (lines 2 and 4); keep one, or join the two.",
            f"{path}: line 6: budget.hours: 1:30: is a time, a number to base 60 or a word; write one number, or "
            "'1:30' in quotes.",
            f"{path}: line 6: budget.epochs: 010: is a number to base 8 or to base 10; write 10, or '010' in quotes.",
        ]

    @pytest.mark.parametrize(
        ("override", "expected"),
        [
            ("budget.hours=1:30", "--set budget.hours: 1:30: is a time, a number to base 60 or a word"),
            ("seed=010", "--set seed: 010: is a number to base 8 or to base 10; write 10, or '010' in quotes."),
            ("probe={kind: paper, kind: logistic}", "--set probe: kind: is given twice; keep one, or join the two."),
            ("subsets=Con,010", "subsets: 'Con,010': is a number to base 8 or to base 10"),
        ],
    )
    def test_values_of_overrides_follow_the_same_rules(
        self, write_config: WriteConfig, override: str, expected: str
    ) -> None:
        (problem,) = problems_of(write_config(), (override,))
        assert problem.startswith(expected)

    @pytest.mark.parametrize(
        "overrides",
        [("budget.epochs=6", "budget.epochs=8"), ("budget.epochs=6", "budget={epochs: 8, trials_per_subset: 2}")],
    )
    def test_an_override_that_would_be_lost_is_refused(
        self, write_config: WriteConfig, overrides: tuple[str, ...]
    ) -> None:
        assert problems_of(write_config(), overrides) == [
            f"--set {overrides[1]}: replaces --set budget.epochs=6; keep one of the two."
        ]

    def test_an_override_below_another_one_adds_to_it(self, write_config: WriteConfig) -> None:
        config = load_config(write_config(), ["probe={label_draws: 3}", "probe.kind=paper"])
        assert (config.probe.label_draws, config.probe.kind) == (3, "paper")

    @pytest.mark.parametrize(
        ("override", "expected"),
        [
            ("colour=red", "colour: is no setting here; allowed are name, features, "),
            ("budget.sedes=3", "budget.sedes: is no setting here. Did you mean seeds?"),
            ("epochs=3", "epochs: is no setting here. Did you mean budget.epochs?"),
            (
                "search.sampler=TPE",
                "search.sampler: 'TPE': must be tpe, joint, random, grid or cmaes. Did you mean tpe?",
            ),
            ("subsets=[con]", "Did you mean Con?"),
            ("baselines=[raw_feature]", "Did you mean raw_features?"),
            ("modalities=[video, txt]", "Did you mean text?"),
            ("objective.metric=macro-f1", "Did you mean macro_f1?"),
            ("probe.fusion=vidoe", "Did you mean video?"),
            ("name=my sweep", "name: 'my sweep': must begin with a letter or digit"),
            ("name=my sweep", "; write my-sweep."),
            ("name=2024", "name: 2024: must be a word; write '2024' in quotes."),
            ("workers.gpus=7", "workers.gpus: 7: must be auto or at most 1."),
            ("probe.label_draws=true", "probe.label_draws: true: must be a whole number."),
            ("budget.seeds=1000000000", "budget.seeds: 1000000000: must be at most 10000."),
            ("budget.epochs=1e1", "budget.epochs: 10.0: must be a whole number; write 10."),
            ("workers.wait_minutes=true", "workers.wait_minutes: true: must be a number."),
            ("workers.wait_minutes=.inf", "workers.wait_minutes: inf: must be a finite number."),
            ("features.standardise='no'", "features.standardise: 'no': must be true or false."),
            ("features.pretrain=", "features.pretrain: null: must be a path."),
            ("search.warm_start=[a]", "search.warm_start.0: 'a': is no sweep's folder"),
            ("seed=99999999999999999999", "seed: 99999999999999999999: must be less than 9223372036854775808."),
        ],
    )
    def test_a_wrong_setting_is_told_in_plain_words(
        self, write_config: WriteConfig, override: str, expected: str
    ) -> None:
        problems = problems_of(write_config(), (override,))
        assert any(expected in problem for problem in problems), problems
        assert not any(word in problem for word in ("nput should", "valid", "tuple") for problem in problems)


class TestPaths:
    @pytest.mark.parametrize("written", ["~/planted", "$SETS/planted", "${SETS}/planted"])
    def test_home_and_variables_are_replaced_in_every_path(
        self, write_config: WriteConfig, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("SETS", str(tmp_path))
        (tmp_path / "planted").symlink_to(planted)
        (tmp_path / "earlier").mkdir()
        (tmp_path / "earlier" / "config.yaml").touch()
        folder = written.removesuffix("/planted")
        path = write_config(
            features={"pretrain": written, "downstream": {"planted": written}},
            space=f"{folder}/tiny.yaml",
            search={"warm_start": f"{folder}/earlier"},
        )
        config = load_config(path)
        assert (config.features.pretrain, config.features.downstream) == (planted, {"planted": planted})
        assert (config.space, config.search.warm_start) == (str(tmp_path / "tiny.yaml"), (tmp_path / "earlier",))

    def test_each_variable_that_is_not_set_is_named(
        self, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("NOWHERE", raising=False)
        settings = {"features": {"pretrain": "$NOWHERE/a", "downstream": {"planted": "s3://$NOWHERE/b"}}}
        assert problems_of(write_config(**settings, space="$NOWHERE/s.yaml")) == [
            f"{field}: the environment has no variable NOWHERE; set it."
            for field in ("features.pretrain", "features.downstream.planted", "space")
        ]


class TestAllAtOnce:
    """A wrong setting hides no problem of the others."""

    def test_contradictions_are_listed_beside_misspelt_names(self, write_config: WriteConfig) -> None:
        problems = problems_of(
            write_config(
                modalities=["video", "smell"],
                subsets=["ConClu", "ConConCon"],
                space="paper",
                budget={"trials_per_subset": 2, "epochs": 10, "sedes": 3},
                probe={"fusion": "smel", "kidn": 3, "label_draws": 0},
                objective={"dataset": "faces", "metric": "f7"},
                search={"nested": ["labels", "modalities"], "reduction_factor": 0},
            )
        )
        for expected in (
            "modalities: 'smell' is no modality of features.pretrain",
            "modalities: 'smell' is no modality of features.downstream.planted",
            "subsets.1: 'ConConCon': is no loss subset",
            "space: paper: kmeans_start_epoch: up to 15, counted from 0, for ConClu",
            "budget.sedes: is no setting here. Did you mean seeds?",
            "probe.fusion: 'smel' must be one of",
            "probe.kidn: is no setting here. Did you mean kind?",
            "probe.label_draws: 0: must be greater than 0.",
            "objective.dataset: 'faces' is no set",
            "objective.metric: 'f7': is no metric",
            "search.nested: modalities has nothing to search",
            "search.nested: labels has nothing to search",
            "search.reduction_factor: 0: must be at least 2.",
        ):
            assert any(problem.startswith(expected) for problem in problems), (expected, problems)

    def test_a_set_that_cannot_be_read_hides_no_problem_of_another(
        self, write_config: WriteConfig, planted: Path, tmp_path: Path
    ) -> None:
        names = ("video", "audio", "text")
        features = {name: np.random.default_rng(0).normal(size=(6, 9)) for name in names}
        sources = dict.fromkeys(names, "made up")
        import_arrays(features, tmp_path / "plain", labels=None, class_names=None, split=None, sources=sources)
        problems = problems_of(
            write_config(
                features={"pretrain": str(planted), "downstream": {"a": "nowhere", "b": "plain"}},
                objective={"dataset": "a"},
            )
        )
        assert [problem.partition(": ")[0] for problem in problems] == [
            "features.downstream.a",
            *["features.downstream.b"] * 3,
        ]

    def test_a_wrong_setting_causes_no_false_problem(self, write_config: WriteConfig) -> None:
        (problem,) = problems_of(write_config(probe={"kind": "papre", "layers": 2}))
        assert problem.startswith("probe.kind: ")
        (problem,) = problems_of(write_config(budget={"trials_per_subset": 0, "epochs": 4}))
        assert problem.startswith("budget.trials_per_subset: 0: ")

    def test_checks_that_follow_are_made_of_the_valid_part(self, write_config: WriteConfig) -> None:
        path = write_config(subsets=["Con", "Genn"], probe={"labels_per_class": [5, 1000], "kind": "papre"})
        with pytest.raises(ConfigError) as caught:
            load_config(
                path,
                later=[
                    lambda config: [f"budgets: {', '.join(map(str, config.probe.budgets[1:]))}"],
                    lambda config: [f"arms: {', '.join(config.arms)}"],
                    lambda config: [f"kind: {config.probe.kind}"],
                ],
            )
        subset, kind, *later = caught.value.problems
        assert subset.startswith("subsets.1: 'Genn': ")
        assert kind.startswith("probe.kind: 'papre': ")
        assert later == ["budgets: 5, 1000", "arms: Con"]

    def test_con_is_refused_where_no_rows_have_a_pair_of_modalities(
        self, write_config: WriteConfig, tmp_path: Path
    ) -> None:
        """Every training row of the first set has one modality; in the second, some have video and audio."""
        thirds = np.arange(120) % 3
        masks = {name: thirds == number for number, name in enumerate(("video", "audio", "text"))}
        alone = write_planted(tmp_path / "alone", present=masks)
        pairs = write_planted(tmp_path / "pairs", present={**masks, "audio": thirds != 2})
        for folder, found in ((alone, 2), (pairs, 1)):
            features = {"pretrain": str(folder), "downstream": {"planted": str(folder)}}
            problems = problems_of(write_config(features=features, modality_subsets=[["audio", "text"]]))
            assert len(problems) == found
            assert problems[-1].startswith(
                "features.pretrain: no two training rows have the same two of audio, text, so Con, ConClu, ConGen, "
                "ConCluGen would have nothing to contrast"
            )
        features = {"pretrain": str(alone), "downstream": {"planted": str(alone)}}
        load_config(write_config(features=features, subsets=["Gen", "Clu"]))

    def test_a_named_space_is_fitted_to_the_samples_that_have_the_modalities(
        self, write_config: WriteConfig, tmp_path: Path
    ) -> None:
        """k-means would have more clusters than a batch has rows."""
        some = np.arange(120) % 3 == 0
        folder = write_planted(tmp_path / "gaps", present={"video": some, "text": some})
        features = {"pretrain": str(folder), "downstream": {"planted": str(folder)}}
        long = {"trials_per_subset": 1, "epochs": 10}

        def config(**settings: Any) -> SweepConfig:
            return load_config(write_config(features=features, space="small", budget=long, **settings))

        whole, few = config(), config(modalities=["video", "text"])
        of_subset = config(modality_subsets=[["video", "text"]])
        assert whole.training_samples == 3 * few.training_samples == 3 * of_subset.training_samples
        assert few.load_space().adapted == of_subset.load_space().adapted != whole.load_space().adapted

    def test_simclr_is_refused_where_one_sample_has_its_modality(
        self, write_config: WriteConfig, tmp_path: Path
    ) -> None:
        folder = write_planted(tmp_path / "gaps", present={"video": np.arange(120) == 0})
        features = {"pretrain": str(folder), "downstream": {"planted": str(folder)}}
        (problem,) = problems_of(write_config(features=features, subsets=["Gen"], baselines=["SimCLR"]))
        assert "1 training sample has video, so SimCLR would have nothing to contrast" in problem
        load_config(write_config(features=features, subsets=["Gen"], baselines=["raw_features"]))
