"""Around Hydra: checks before anything is built, safe building, the job every run goes through, sweeps."""
