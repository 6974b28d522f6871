"""What the next trial of each arm may gain, and which searches end early because it is too little.

With ``search.stop_when``, each arm is looked at when its turn comes, whatever the sampler. The forecast comes from the
joint model, which learns from the trials of all arms. The search ends if the next trial is expected to gain less than
the rule asks for. Its turns go to nobody, so that the other arms keep their own budgets.

A decision is recorded before anything else starts. If the driver is killed between the two, the next session decides
again, from the same trials.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sweeps.config import Arm, SweepConfig
from sweeps.folder.early_ends import read_early_ends, write_early_ends
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import EarlyEnd
from sweeps.search.joint.observations import Observation
from sweeps.search.study import Study

if TYPE_CHECKING:
    from sweeps.search.joint.proposals import Forecast
    from sweeps.search.joint_search import JointSearch

__all__ = ["Prospects"]


class Prospects:
    """Looks ahead by one trial of an arm.

    Args:
        config: the sweep.
        folder: the sweep folder.
        studies: arm -> its study.
        earlier: trials of earlier sweeps that the joint model learns from, too.
        say: receives a message when a search ends early.
    """

    def __init__(
        self,
        config: SweepConfig,
        folder: SweepFolder,
        studies: Mapping[str, Study],
        earlier: Sequence[Observation],
        say: Callable[[str], None],
    ) -> None:
        self._config, self._folder, self._studies, self._say, self._earlier = config, folder, studies, say, earlier
        self.early_ends = read_early_ends(folder, config)
        """Arm -> its early end, for each search that has ended early."""
        self.forecasts: dict[str, Forecast] = {}
        """Arm -> the last forecast that was made at its turn."""
        self._proposals: dict[tuple[str, int], dict[str, Any]] = {}  # (arm, number) -> what a decision computed, too

    @cached_property
    def _joint(self) -> "JointSearch":
        from sweeps.search.joint_search import JointSearch  # loads scipy, which a search may not need

        return JointSearch(self._config, self._studies, self._earlier)

    def propose(self, arm: Arm, number: int) -> dict[str, Any]:
        """Return the searched hyperparameters of trial ``number`` of an arm, as the joint sampler proposes them."""
        known = self._proposals.pop((arm.name, number), None)
        return self._look_ahead(arm, number)[0] if known is None else known

    def early_end(self, name: str) -> EarlyEnd | None:
        """Return the early end of an arm's search if its next trial promises too little; None if the search goes on."""
        rule, study = self._config.search.stop_when, self._studies[name]
        number = study.next_number
        if rule is None or study.is_late(number):  # a trial that damage has erased is among those that were decided on
            return None
        if sum(trial.state in ("complete", "pruned") for trial in study.observations()) < rule.trials:
            return None
        values, forecast = self._look_ahead(study.arm, number)
        if forecast is None or forecast.improvement >= rule.improvement:
            self._proposals = {(name, number): values}
            return None
        end = EarlyEnd(trials=number, improvement=forecast.improvement, high=forecast.high)
        self.early_ends[name] = end
        write_early_ends(self._folder, self._config, self.early_ends)
        self._say(f"{name}: {end.in_words(self._config.budget.trials_per_subset)}.")
        return end

    def _look_ahead(self, arm: Arm, number: int) -> "tuple[dict[str, Any], Forecast | None]":
        values, forecast = self._joint.look_ahead(arm, number)
        if forecast is not None:
            self.forecasts[arm.name] = forecast
        return values, forecast
