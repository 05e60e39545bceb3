"""The kernel that only reads does read every row, and the ceiling is the fastest of its shapes."""

import os

import pytest
import torch

from bench import ceiling
from bench.timing import Timing

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@pytest.mark.parametrize("width", (16, 17, 64, 128, 200))
@pytest.mark.parametrize("shape", ceiling.SHAPES, ids=str)
def test_sums_of_bags(shape, width):
    pytest.importorskip("triton")
    from bench.gather_kernel import sum_of_bags

    device = "cpu" if INTERPRETED else "cuda"
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(50, width, generator=generator).to(device)
    index = torch.randint(50, (2 * shape[0],), generator=generator, dtype=torch.int32).to(device)
    expected = table[index.long()].double().view(2, shape[0], width).sum(1)
    torch.testing.assert_close(sum_of_bags(table, index, *shape).double(), expected, rtol=1e-5, atol=1e-5)


def test_bags_that_are_not_full_are_refused():
    pytest.importorskip("triton")
    from bench.gather_kernel import sum_of_bags

    with pytest.raises(ValueError, match="100 rows do not fill bags of 64"):
        sum_of_bags(torch.zeros(5, 8), torch.zeros(100, dtype=torch.int32), 64, 8, 1)


def test_the_fastest_way_is_the_ceiling(monkeypatch):
    """Bytes are those of the rows alone; edges fill the largest bag."""
    pytest.importorskip("triton")
    read = []

    def timed(ways, device, seconds):
        for way in ways.values():
            way()
        read.extend(ways)
        last = len(ways) - 1
        hot = {name: Timing(2.0 - (place == last), 0, 0, 3) for place, name in enumerate(ways)}
        return hot, {name: Timing(4.0 - (place == 0), 0, 0, 3) for place, name in enumerate(ways)}

    monkeypatch.setattr(ceiling, "interleave_hot_and_flushed", timed)
    if not INTERPRETED:
        pytest.skip("the kernel itself is tested above")
    found = ceiling._gather_ceiling_of_a_gpu(torch.randn(20, 8), 130)
    assert found.gb_s == pytest.approx(256 * 8 * 4 / 1e6) and found.way == read[-1]
    assert found.flushed_gb_s == pytest.approx(256 * 8 * 4 / 3e6) and found.flushed_way == read[0]


def test_on_a_cpu_nothing_is_flushed():
    found = ceiling.gather_ceiling(torch.device("cpu"), 8, 100, 640)
    assert found.gb_s > 0 and found.flushed_gb_s is None and found.way == "embedding_bag"
