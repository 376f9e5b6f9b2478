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
        from groundup.jobs.launchers import launcher_of, prepare

        self.launcher = launcher_of(OmegaConf.to_container(config.hydra.launcher, resolve=True))
        self.loader, self.config, self.task = hydra_context.config_loader, config, task_function
        self.composed = compose_once(self.loader)
        prepare(self.launcher)

    def launch(self, job_overrides, initial_job_idx):
        from groundup.jobs.launchers import launch

        composed = (self.composed(self.config, list(words)) for words in job_overrides)
        return launch(self.launcher, composed, initial_job_idx, self.task.carry_out)


def compose_once(loader):
    """Hydra composes each job to see whether it can, and again to run it. What is returned is for the second time: it gives
    what was made the first time, once, as a job changes its own; of equal jobs each has its own."""
    compose, kept = loader.load_sweep_config, {}

    def load_sweep_config(master_config, sweep_overrides):
        kept[tuple(sweep_overrides)] = config = compose(master_config, sweep_overrides)
        return config

    def composed(master_config, sweep_overrides):
        config = kept.pop(tuple(sweep_overrides), None)
        return compose(master_config, sweep_overrides) if config is None else config

    loader.load_sweep_config = load_sweep_config
    return composed


class Pool(Serial):
    pass


class Slurm(Serial):
    pass
