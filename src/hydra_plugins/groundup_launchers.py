"""``hydra/launcher=serial``, ``pool``, ``slurm``: Hydra takes launchers from this namespace alone. Ours are in ``groundup.jobs``.

Every application of Hydra in this environment imports this file, so it imports nothing of ours before it is used.
"""

from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf


class Serial(Launcher):
    """Hands jobs over to the launcher of its name in ``groundup.jobs.launchers``."""

    def __init__(self, **options):
        self.options = options

    def setup(self, *, hydra_context, task_function, config):
        from groundup.jobs.launchers import launcher_of

        self.launcher = launcher_of(OmegaConf.to_container(config.hydra.launcher, resolve=True))
        self.loader, self.config, self.task = hydra_context.config_loader, config, task_function

    def launch(self, job_overrides, initial_job_idx):
        from groundup.jobs.launchers import launch

        composed = (self.loader.load_sweep_config(self.config, list(words)) for words in job_overrides)
        return launch(self.launcher, composed, initial_job_idx, self.task.carry_out)


class Pool(Serial):
    pass


class Slurm(Serial):
    pass
