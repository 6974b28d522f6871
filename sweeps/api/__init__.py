"""The Python interface of the sweeper, for notebooks and scripts: `sweeps.open` and `sweeps.run`.

`import sweeps` alone loads nothing. Opening a sweep loads pandas, but neither torch nor Ray. Names that are in
``__all__`` here and the public methods of their classes stay, or go away as CONTRIBUTING.md says.
"""

from sweeps.api.best import Best
from sweeps.api.running import run
from sweeps.api.sweep import Sweep, open_sweep

__all__ = ["Best", "Sweep", "open_sweep", "run"]
