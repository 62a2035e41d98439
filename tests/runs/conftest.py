"""Fixtures for whoever scores the parts of a run."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """The last digits of scores may depend on the threads of a process: all have one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
