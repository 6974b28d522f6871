"""What one more trial of each arm would gain, from the records of a sweep alone.

`conclugen sweep status` shows these forecasts, whatever the sampler. They come from the model of the joint sampler,
which learns from the trials of all arms of a search. Trials that run are not among the records, and do not count.
"""

from collections.abc import Sequence
from dataclasses import replace

from conclugen.seeds import derive_seed
from search_spaces import Space, SpaceError
from sweeps.config import Arm, SweepConfig
from sweeps.ledger import Record
from sweeps.search.joint.observations import Observation, observation_of
from sweeps.search.joint.proposals import Forecast, JointModel

__all__ = ["forecasts"]


def forecasts(config: SweepConfig, records: Sequence[Record]) -> dict[str, Forecast]:
    """Return arm -> what its next trial would gain; arms with fewer than two completed trials are left out.

    Args:
        config: the sweep.
        records: the records of the sweep's ledger.
    """
    try:
        space = config.load_space()
    except SpaceError:  # a space of a former version, or one whose file is gone
        return {}
    arms = list(config.arms.values())
    trials = {arm: [_observation(arm, r, space) for r in records if _is_trial(r, arm)] for arm in arms}
    results = dict[str, Forecast]()
    for search in dict.fromkeys(arm.search for arm in arms):
        related = [arm for arm in arms if arm.search == search]
        model = JointModel(space, related)
        together = [trial for arm in related for trial in trials[arm]]
        together.sort(key=lambda trial: trial.number)  # trials of one number keep the order of their arms
        for arm in related:
            seed = derive_seed(config.seed, "sampler", arm.name, len(trials[arm]))
            _, forecast = model.propose(arm, together, seed)
            if forecast is not None:
                results[arm.name] = forecast
    return results


def _is_trial(record: Record, arm: Arm) -> bool:
    return (record.stage, record.method) == ("search", arm.name)


def _observation(arm: Arm, record: Record, space: Space) -> Observation:
    """Return a trial as its study has it: with the values that were searched."""
    trial = observation_of(record, arm)
    searched = {name for name, parameter in arm.parameters(space).items() if parameter.fixed is None}
    return replace(trial, values={name: value for name, value in trial.values.items() if name in searched})
