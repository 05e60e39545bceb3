"""The setting that spares training most of its page faults, and how memory is given back."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")


REUSED = """
import resource, sys
import torch
from mde_fast.training.memory import keep_freed_memory

def faults(numbers):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(numbers).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert keep_freed_memory()
numbers = int(sys.argv[1])
faults(numbers)  # the first round may still grow the heap
assert faults(numbers) < numbers * 4 * 20 / 4096 / 10  # a block may move once
"""


@pytest.mark.parametrize("numbers", (3_000_000, 30_000_000), ids=("12 MB", "120 MB"))
def test_memory_is_reused_without_page_faults(numbers):
    """Blocks above 32 MiB, too, which glibc maps by themselves whatever its threshold."""
    ended = subprocess.run([sys.executable, "-c", REUSED, str(numbers)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


RELEASED = """
import torch
from pathlib import Path
from mde_fast.training.memory import keep_freed_memory, releases_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

@releases_memory
def work():
    keep_freed_memory()
    held = [torch.ones(10_000_000) for _ in range(10)]
    del held
    return resident()

before = resident()
kept = work()
assert kept - before > 350, (before, kept)
assert resident() - before < 100, (before, resident())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_what_was_kept_is_given_back_at_the_end():
    ended = subprocess.run([sys.executable, "-c", RELEASED], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
