"""Checks of one setting against another: modalities against features, space against budget.

Each check is a function of the configuration that yields problems. It runs if all that it reads is valid, so a wrong
setting hides no problem of the others and causes no false one. Validators of pydantic were rejected: a section with one
wrong setting would be wrong as a whole, and every check that reads the section would be left out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import combinations
from types import FunctionType, MethodType
from typing import Annotated, Any, cast, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from conclugen.counts import counted
from conclugen.features.manifest import SPLITS, FeatureSetError, Location, Manifest, statistics_problem
from conclugen.names import look_alikes
from conclugen.settings.wording import shown, suggestion
from conclugen.subsets import Loss
from search_spaces import LEAST_SAMPLES, named_spaces
from sweeps.config.fields import metrics_of
from sweeps.config.sections import Section
from sweeps.config.sweep import SweepConfig, as_written, rungs, searched_methods
from sweeps.ledger import LOSSES

__all__ = ["contradictions", "problems_found", "valid_part"]


_LEAST_PAIRED = 2
"""Fewest rows with both modalities of a pair: a single row has nothing to be told apart from."""


def contradictions(config: SweepConfig, *, alone: bool) -> list[str]:
    """Return the problems of settings that are valid by themselves and not together.

    Args:
        config: a configuration, or what :func:`valid_part` returns.
        alone: read nothing that lies outside the configuration.
    """
    return problems_found(config, (*_ALONE, *(() if alone else _WITH_REFERENCES)))


def problems_found(config: SweepConfig, checks: Sequence[Callable[[SweepConfig], Iterable[str]]]) -> list[str]:
    """Return the problems that ``checks`` find.

    A check that reads a wrong setting is left out, and so is one that reads a damaged set.

    Args:
        config: a configuration, or what :func:`valid_part` returns.
        checks: functions from a configuration to problems.
    """
    problems: list[str] = []
    for check in checks:
        with suppress(_InvalidError, FeatureSetError):
            problems.extend(check(config))
    return problems


def valid_part(data: Mapping[str, Any], context: Mapping[str, Any]) -> SweepConfig:
    """Return the valid settings of ``data`` for :func:`contradictions` only: the others cannot be read.

    Args:
        data: settings, some of which are wrong.
        context: of the validation.
    """
    return cast(SweepConfig, _ValidPart(SweepConfig, data, context))


class _InvalidError(AttributeError):
    """A check reads a setting that is wrong, and so has a message of its own."""


class _ValidPart:
    """The settings of a section that are valid; reading another one raises an error.

    Properties and methods of the section's model work, if all that they read is valid. Of the lists at the top, the
    valid entries remain. A wrong entry of a mapping is None, so its name is known.
    """

    def __init__(self, model: type[BaseModel], data: Mapping[str, Any], context: Mapping[str, Any]) -> None:
        self._model = model
        for name, field in model.model_fields.items():
            if name not in data:
                if not field.is_required():
                    setattr(self, name, field.get_default())
                continue
            kind: Any = field.annotation
            if isinstance(kind, type) and issubclass(kind, Section):
                section = {} if data[name] is None else data[name]  # as sections.Section reads it
                if isinstance(section, Mapping):
                    setattr(self, name, _ValidPart(kind, section, context))
                continue
            adapter = TypeAdapter[Any](Annotated[(kind, *field.metadata)] if field.metadata else kind)
            divisible = dict if get_origin(kind) is dict else list if model is SweepConfig else ()
            value = _valid_entries(adapter, data[name], context, divisible)
            if value is not _InvalidError:
                setattr(self, name, value)
        if model is SweepConfig:
            self._as_written = as_written(context)

    def __getattr__(self, name: str) -> Any:
        derived = vars(self._model).get(name)
        if isinstance(derived, property) and derived.fget is not None:
            return derived.fget(self)
        if isinstance(derived, FunctionType):
            return MethodType(derived, self)
        raise _InvalidError(name)


def _valid_entries(
    adapter: TypeAdapter[Any], value: Any, context: Mapping[str, Any], divisible: type | tuple[type, ...]
) -> Any:
    """Return the valid form of ``value``, without wrong entries if it is ``divisible``; an error's class if none is."""
    try:
        return adapter.validate_python(value, context=context)
    except ValidationError as error:
        wrong = {details["loc"][0] if details["loc"] else None for details in error.errors()}
    entries = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(value, divisible) or not wrong < entries.keys():
        return _InvalidError
    right = {key: entry for key, entry in entries.items() if key not in wrong}
    if isinstance(value, list):
        return _valid_entries(adapter, list(right.values()), context, divisible)
    rest = _valid_entries(adapter, right, context, divisible)
    return {**dict.fromkeys(entries), **rest} if isinstance(rest, dict) else rest


def _sets(config: SweepConfig) -> dict[str, Location]:
    """Return the labelled sets that can be read, by name."""
    return {name: location for name, location in config.features.downstream.items() if location is not None}


def _one_measure_of_the_budget(config: SweepConfig) -> Iterator[str]:
    budget = config.budget
    measures = {
        "trials_per_subset": budget.trials_per_subset,
        "hours": budget.hours,
        "gpu_hours": budget.gpu_hours,
    }
    names = [name for name, value in measures.items() if value is not None]
    if len(names) != 1:
        text = " and ".join(names) or "none of them"
        yield f"budget.trials_per_subset: give one of trials_per_subset, hours and gpu_hours, but got {text}."


def _one_label_budget_of_the_objective(config: SweepConfig) -> Iterator[str]:
    objective = config.objective
    if objective.labels_per_class is not None and objective.label_fraction is not None:
        yield "objective: labels_per_class and label_fraction exclude each other; keep one."


def _objective_of_a_known_set(config: SweepConfig) -> Iterator[str]:
    sets, dataset = config.features.downstream, config.objective.dataset
    if dataset is not None and dataset not in sets:
        yield (
            f"objective.dataset: {dataset!r} is no set of features.downstream, which has {', '.join(sets)}."
            f"{suggestion(dataset, sets)}"
        )


def _probe_is_not_its_own_companion(config: SweepConfig) -> Iterator[str]:
    if config.probe.kind in config.probe.also:
        yield f"probe.also: {config.probe.kind} is the probe itself; drop it there, or choose another kind."


def _no_idle_setting_of_the_probe(config: SweepConfig) -> Iterator[str]:
    probe = config.probe
    if "paper" in (probe.kind, *probe.also):
        return
    fields = type(SweepConfig.model_fields["probe"].default).model_fields
    for name in ("layers", "hidden_dim", "lr", "patience"):
        value = getattr(probe, name, fields[name].default)
        if value != fields[name].default:
            yield (
                f"probe.{name}: {value!r} is a setting of the paper's probe, which this sweep does not use; give "
                "probe.kind: paper or probe.also: [paper], or drop it."
            )


def _fusion_of_known_modalities(config: SweepConfig) -> Iterator[str]:
    fusion, allowed = config.probe.fusion, ("concat", "mean", *config.modalities)
    if fusion not in allowed:
        yield f"probe.fusion: {fusion!r} must be one of {', '.join(allowed)}.{suggestion(fusion, allowed)}"
    elif fusion not in allowed[:2] and config.modality_subsets:
        yield "probe.fusion: one modality alone leaves nothing of modality_subsets to compare; drop one."


def _modality_subsets_are_proper(config: SweepConfig) -> Iterator[str]:
    every, subsets = config.modalities, config.modality_subsets
    for subset in subsets:
        if not set(subset) < set(every) or len(set(subset)) != len(subset) or len(subset) < 2:
            yield (
                f"modality_subsets: {list(subset)}: must name some, not all, of {', '.join(every)}, at least two and "
                "each once."
            )
    for subset in dict.fromkeys(tuple(sorted(subset)) for subset in subsets):
        if [tuple(sorted(other)) for other in subsets].count(subset) > 1:
            yield f"modality_subsets: {[name for name in every if name in subset]}: is listed twice."


def _grid_visits_its_own_points(config: SweepConfig) -> Iterator[str]:
    search = config.search
    if search.sampler == "grid" and (search.warm_start or search.share_best):
        yield "search.sampler: a grid visits its own points only; drop warm_start and share_best."


def _a_search_can_end_early(config: SweepConfig) -> Iterator[str]:
    rule, most = config.search.stop_when, config.budget.trials_per_subset
    if rule is not None and most is not None and rule.trials >= most:
        yield (
            f"search.stop_when.trials: {rule.trials} must be below budget.trials_per_subset, which is {most}, or no "
            "search ends early; lower it, or drop search.stop_when."
        )


def _nested_modalities_are_there(config: SweepConfig) -> Iterator[str]:
    if "modalities" in config.search.nested and not config.modality_subsets:
        yield "search.nested: modalities has nothing to search without modality_subsets; list some."


def _nested_labels_are_there(config: SweepConfig) -> Iterator[str]:
    if "labels" in config.search.nested and not (config.probe.labels_per_class or config.probe.label_fraction):
        yield "search.nested: labels has nothing to search without label budgets of the probe; list some."


def _gpus_can_spend(config: SweepConfig) -> Iterator[str]:
    if config.workers.gpus == 0 and config.budget.gpu_hours is not None:
        yield "workers.gpus: none, so no gpu_hours of the budget are ever used; give budget.hours."


def _names_of_sets_differ(config: SweepConfig) -> Iterator[str]:
    for group in look_alikes(config.features.downstream):
        names = ", ".join(group)
        yield f"features.downstream: {names} look alike, and so do the files of reports; rename all but one."


def _statistics_can_be_read(config: SweepConfig) -> Iterator[str]:
    if config.features.standardise and (problem := statistics_problem(config.features.pretrain)) is not None:
        yield f"features.pretrain: {problem}"  # every trial would fail


def _con_has_something_to_compare(config: SweepConfig) -> Iterator[str]:
    manifest = Manifest.read(config.features.pretrain)
    contrasted = [name for name in config.subsets if Loss.CON in LOSSES[name]]
    if not manifest.has_gaps or not contrasted:
        return
    counts = [
        (set(names.split("+")), rows)
        for part in manifest.training
        for names, rows in manifest.rows_by_modalities(part).items()
    ]
    for modalities in (config.modalities, *config.modality_subsets):
        paired = [sum(rows for there, rows in counts if there >= set(pair)) for pair in combinations(modalities, 2)]
        if max(paired, default=_LEAST_PAIRED) < _LEAST_PAIRED:
            yield (
                f"features.pretrain: no two training rows have the same two of {', '.join(modalities)}, so "
                f"{', '.join(contrasted)} would have nothing to contrast; leave them out of subsets, or add such rows."
            )


def _simclr_has_something_to_compare(config: SweepConfig) -> Iterator[str]:
    names = config.simclr_modalities
    if "SimCLR" in config.baselines and names[0] in Manifest.read(config.features.pretrain).widths:
        samples = config.samples_with(names)
        if samples < _LEAST_PAIRED and samples < config.training_samples:  # else the set itself is too small
            yield (
                f"features.pretrain: {counted(samples, 'training sample has', 'training samples have')} {names[0]}, so "
                "SimCLR would have nothing to contrast; leave it out of baselines, or add such samples."
            )


def _downstream_sets_are_labelled(config: SweepConfig) -> Iterator[str]:
    for name, folder in _sets(config).items():
        manifest = Manifest.read(folder)
        if manifest.labels is None:
            yield f"features.downstream.{name}: {folder} has no labels; import it with --labels."
        if not manifest.folds and (missing := [split for split in SPLITS if manifest.rows(split) == 0]):
            yield (
                f"features.downstream.{name}: {folder} has no rows in {', '.join(missing)}; import with --split or "
                "--folds."
            )


def _widths_agree(config: SweepConfig) -> Iterator[str]:
    widths = Manifest.read(config.features.pretrain).widths
    for name, folder in _sets(config).items():
        own = Manifest.read(folder).widths
        if differences := {m: w for m, w in own.items() if m in widths and widths[m] != w}:
            yield f"features.downstream.{name}: widths {differences} differ from those of the pretraining set."


def _modalities_of_the_pretraining_set(config: SweepConfig) -> Iterator[str]:
    return _lacking(config, "pretrain", config.features.pretrain)


def _modalities_of_the_labelled_sets(config: SweepConfig) -> Iterator[str]:
    for name, folder in _sets(config).items():
        yield from _lacking(config, f"downstream.{name}", folder)


def _lacking(config: SweepConfig, where: str, folder: Location) -> Iterator[str]:
    widths = Manifest.read(folder).widths
    for name in config.modalities:
        if name not in widths:
            yield (
                f"modalities: {shown(name)} is no modality of features.{where}, which has {', '.join(widths)}."
                f"{suggestion(name, widths)}"
            )


def _baselines_suit_the_labels(config: SweepConfig) -> Iterator[str]:
    sets = [name for name, folder in _sets(config).items() if Manifest.read(folder).multi_label]
    if sets and "label_spreading" in config.baselines:
        yield (
            f"baselines: label_spreading cannot give samples of {', '.join(sets)} several labels; "
            "leave label_spreading out of baselines."
        )


def _metric_of_the_sets_that_count(config: SweepConfig) -> Iterator[str]:
    sets, dataset, metric = config.features.downstream, config.objective.dataset, config.objective.metric
    names = list(sets) if dataset is None else [dataset] if dataset in sets else []
    if not names or any(sets[name] is None for name in names):
        return
    labels = [Manifest.read(sets[name]).labels for name in names]
    classes = [each.classes if each is not None else () for each in labels]
    shared = [label for label in classes[0] if all(label in each for each in classes)]
    if metric not in (allowed := metrics_of(shared)):
        yield (
            f"objective.metric: {metric!r} must be one that {', '.join(names)} has: {', '.join(allowed)}."
            f"{suggestion(metric, allowed)}"
        )


def _space_fits_the_budget(config: SweepConfig) -> Iterator[str]:
    name = config.space
    samples = config.training_samples
    least = LEAST_SAMPLES if name in named_spaces() else 2  # as a batch needs
    if samples < least:
        yield (
            f"features.pretrain: {counted(samples, 'training sample')}; space {name}{_default_space(name)} needs at "
            f"least {least}; give a larger set"
            + (", or a space of your own with smaller batches." if name in named_spaces() and samples > 1 else ".")
        )
        return
    for problem in config.load_space().problems(
        {method: LOSSES[method] for method in searched_methods(config.subsets, config.baselines)},
        epochs=config.budget.epochs,
        first_rung=partial(_first_rung, config),
        rows=samples,
        workers=config.workers.per_trial,
    ):
        yield f"space: {name}{_default_space(name)}: {problem}"


def _first_rung(config: SweepConfig, epochs: int) -> int | None:
    budget = config.budget.model_copy(update={"epochs": epochs})
    return next(iter(rungs(budget, config.probe, config.search)), None)


def _space_suits_the_sampler(config: SweepConfig) -> Iterator[str]:
    searched = {method: LOSSES[method] for method in searched_methods(config.subsets, config.baselines)}
    trials = config.budget.trials_per_subset
    for problem in config.load_space().unsuitable(config.search.sampler, searched, trials):
        yield f"space: {config.space}{_default_space(config.space)}: {problem}"


def _default_space(name: str) -> str:
    return " (the default)" if name == SweepConfig.model_fields["space"].default else ""


_ALONE = (
    _one_measure_of_the_budget,
    _one_label_budget_of_the_objective,
    _objective_of_a_known_set,
    _probe_is_not_its_own_companion,
    _no_idle_setting_of_the_probe,
    _fusion_of_known_modalities,
    _modality_subsets_are_proper,
    _grid_visits_its_own_points,
    _a_search_can_end_early,
    _nested_modalities_are_there,
    _nested_labels_are_there,
    _gpus_can_spend,
)
_WITH_REFERENCES = (
    _names_of_sets_differ,
    _statistics_can_be_read,
    _con_has_something_to_compare,
    _simclr_has_something_to_compare,
    _downstream_sets_are_labelled,
    _widths_agree,
    _modalities_of_the_pretraining_set,
    _modalities_of_the_labelled_sets,
    _baselines_suit_the_labels,
    _metric_of_the_sets_that_count,
    _space_fits_the_budget,
    _space_suits_the_sampler,
)
