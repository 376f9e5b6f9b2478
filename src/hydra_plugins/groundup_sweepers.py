"""``hydra/sweeper=optuna``, ``random``, ``halving``: Hydra takes sweepers from this namespace alone. Ours is ``groundup.jobs.study``.

Every application of Hydra in this environment imports this file, so it imports nothing of ours before it is used.
"""

from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf


class Study(Sweeper):
    """Hands the command over to ``groundup.jobs.study``."""

    def __init__(self, **options):
        self.options = options

    def setup(self, *, hydra_context, task_function, config):
        self.config, self.task = config, task_function

    def sweep(self, arguments):
        from groundup.jobs.study import begin

        launcher, options = (
            OmegaConf.to_container(node, resolve=True)
            for node in (self.config.hydra.launcher, self.config.hydra.sweeper)
        )
        return begin(options, launcher, arguments, self.task.carry_out)
