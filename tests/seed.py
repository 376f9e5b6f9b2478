"""The seed that every test which trains starts from, so that the same tests can be tried with many."""

import os

SEED = int(os.environ.get("GROUNDUP_TEST_SEED", "0"))
