"""The joint sampler in a sweep: which trials a proposal learns from, and what it proposes.

A trial learns from the trials of all arms of its search. Under a budget of trials it learns only from those before it:
lower numbers, and equal numbers of arms that come before its own. So a trial that damage has erased is proposed again
as it was, whatever has run since. A subset that is added to a finished sweep pays for that: it sees what the others had
after as many trials. Under a budget of time, arms have no common order, and a trial sees all that have started.

Repeated searches (`budget.searches`) do not learn from each other.
"""

from collections.abc import Collection, Mapping
from typing import Any

from conclugen.seeds import derive_seed
from sweeps.config import Arm, SweepConfig
from sweeps.search.joint.observations import Observation
from sweeps.search.joint.proposals import Forecast, JointModel
from sweeps.search.study import Study

__all__ = ["JointSearch"]

_UNINFORMED = 2  # first trials of each arm: the default configuration, and a random one


class JointSearch:
    """Proposes the trials of every arm.

    Args:
        config: the sweep.
        studies: arm's name -> its study.
        earlier: trials of earlier sweeps.
    """

    def __init__(
        self, config: SweepConfig, studies: Mapping[str, Study], earlier: Collection[Observation] = ()
    ) -> None:
        self._config, self._studies, self._earlier = config, studies, list(earlier)
        tasks = max((observation.task for observation in earlier), default=0)
        space = config.load_space()
        arms = [study.arm for study in studies.values()]
        self._models = {
            search: JointModel(space, [arm for arm in arms if arm.search == search], tasks)
            for search in {arm.search for arm in arms}
        }
        self._ordered = config.budget.trials_per_subset is not None

    def propose(self, arm: Arm, number: int) -> dict[str, Any]:
        """Return the searched hyperparameters of trial ``number`` of an arm."""
        return self.look_ahead(arm, number)[0]

    def look_ahead(self, arm: Arm, number: int) -> tuple[dict[str, Any], Forecast | None]:
        """Return what :meth:`propose` returns, and what the trial may gain; None if nothing is known of that."""
        seed = derive_seed(self._config.seed, "sampler", arm.name, number)
        # What an earlier sweep has found is worth more than random trials.
        informed = number >= _UNINFORMED or bool(self._earlier)
        observations = self._visible(arm, number) if informed else []
        return self._models[arm.search].propose(arm, observations, seed)

    def _visible(self, arm: Arm, number: int) -> list[Observation]:
        """Return the trials that trial ``number`` of ``arm`` learns from, in the order of their proposals."""
        order = {study.arm: index for index, study in enumerate(self._studies.values())}
        place = number, order[arm]
        late = self._studies[arm.name].is_late(number)
        trials = [
            observation
            for study in self._studies.values()
            if study.arm.search == arm.search
            for observation in study.observations()
            if not (self._ordered or late) or (observation.number, order[observation.arm]) < place
        ]
        trials.sort(key=lambda observation: (observation.number, order[observation.arm]))
        return [*self._earlier, *trials]
