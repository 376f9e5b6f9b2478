import warnings

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Tests compare bits, and forked children must not wait for threads they have not got."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(threads)
