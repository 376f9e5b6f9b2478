"""``python -m groundup`` is the command ``groundup``."""

import os
import sys

# ``-m`` puts the current folder first: a random.py or torch.py in it would stand in for the real one.
if sys.path[:1] == [os.getcwd()] and not sys.flags.safe_path:
    del sys.path[0]

from groundup.cli import main

if __name__ == "__main__":
    main()
