"""Jobs: from a command line to one stage in one run folder, on one machine or many; pipelines, sweeps and resumed runs."""
