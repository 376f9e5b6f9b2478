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
        compose_once(self.loader)
        prepare(self.launcher)

    def launch(self, job_overrides, initial_job_idx):
        from groundup.jobs.launchers import launch

        composed = (self.loader.load_sweep_config(self.config, list(words)) for words in job_overrides)
        return launch(self.launcher, composed, initial_job_idx, self.task.carry_out)


def compose_once(loader):
    """Hydra composes each job to see whether it can, and again to run it: the second time it gets what it has made."""
    compose, kept = loader.load_sweep_config, {}

    def load_sweep_config(master_config, sweep_overrides):
        key = tuple(sweep_overrides)
        if key in kept:
            return kept.pop(key)
        kept[key] = compose(master_config, sweep_overrides)
        return kept[key]

    loader.load_sweep_config = load_sweep_config


class Pool(Serial):
    pass


class Slurm(Serial):
    pass
