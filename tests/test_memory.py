"""The setting that spares training most of its page faults."""

import platform
import resource

import pytest
import torch

from mde_fast.training.memory import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_memory_is_reused_without_page_faults():
    assert keep_freed_memory()

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            torch.ones(3_000_000).sum()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()  # the first round may still grow the heap
    assert faults() < 3_000_000 * 4 * 20 / 4096 / 10
