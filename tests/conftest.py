"""Shared by all tests."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Waking a second thread costs more than it saves on cases this small; yields how many there were."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield before
    torch.set_num_threads(before)
