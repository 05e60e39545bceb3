"""Predicted times: each ceiling by hand, and the command from a size to a table."""

import json
from itertools import chain

import pytest
import torch

pytest.importorskip("triton")

from bench.data_sheets import GPUS, predict, resident_programs
from bench.library import kernels_of, work_of
from bench.roofline import PREDICTED, main
from mde_fast.kernels.work import Work

H100 = GPUS["h100"]
SIZE = ["--users", "300", "--items", "200", "--interactions", "2000", "--features", "40,24", "--batch", "128"]
SIZE.append("--no-compile")


@pytest.mark.parametrize(
    "work, more, bound, seconds",
    (
        (Work(3.35e9), {}, "memory", 1 / 900),
        (Work(0, gathered=5.5e9, table=2**20), {}, "cache", 1e-3),
        # Of a table four times as large as the cache three quarters of what is gathered again come from memory.
        (Work(0, gathered=2e9, table=200 * 2**20), {}, "memory", (1.5e9 + 50 * 2**20) / (0.9 * 3.35e12)),
        (Work(8, operations=67e9), {}, "operations", 1e-3),
        (Work(8, operations=989e9, arithmetic="bf16"), {}, "operations", 2e-3 * 989 / 1979),
        (Work(8, chain=10), {"programs": 1}, "latency", 4800 / 1.755e9),
        (Work(8, chain=10), {"programs": 132 * 4 * 3, "resident": 4}, "occupancy", 3 * 4800 / 1.755e9),
        (Work(8), {"programs": 1}, "launch", 480 / 1.755e9),
    ),
)
def test_the_highest_ceiling_holds_a_launch_back(work, more, bound, seconds):
    prediction = predict(work, H100, **more)
    assert prediction.bound == bound and prediction.seconds == pytest.approx(seconds, rel=1e-6)


@pytest.mark.parametrize(
    "warps, registers, shared, programs",
    ((1, None, 0, 32), (4, None, 0, 16), (1, 64, 0, 32), (1, 72, 0, 28), (4, 128, 0, 4), (4, 32, 56 * 1024, 4)),
)
def test_programs_that_fit_on_a_multiprocessor(warps, registers, shared, programs):
    assert resident_programs(H100, warps, registers, shared) == programs


def test_calls_of_pytorch():
    left, right = torch.zeros(30, 20), torch.zeros(20, 10)
    product = work_of("mm", (left, right), left @ right)
    assert product.bytes == 4 * (600 + 200 + 300) and product.operations == 2 * 30 * 20 * 10
    bias = work_of("addmm", (torch.zeros(10), left.bfloat16(), right.bfloat16()), torch.zeros(30, 10).bfloat16())
    assert bias.operations == 2 * 30 * 20 * 10 and bias.arithmetic == "bf16"
    bags = work_of("_embedding_bag", (left, torch.zeros(7, dtype=torch.int64)), torch.zeros(2, 20))
    assert bags.gathered == 4 * 7 * 20 and bags.streamed == 4 * 2 * 20 + 8 * 7
    lists = [[torch.zeros(100), torch.zeros(5)] for _ in range(4)]
    assert work_of("_fused_adam_", tuple(lists), None).bytes == 7 * 4 * 105
    assert work_of("add", (left, torch.zeros(1).expand(30, 20)), left).bytes == 4 * (600 + 1 + 600)
    assert kernels_of("sort", (torch.zeros(4096),)) < kernels_of("sort", (torch.zeros(4097),))


def test_a_table_of_a_size(capsys, tmp_path):
    main([*SIZE, "--kind", "h200", "--json"])
    step = json.loads(capsys.readouterr().out)
    rows = {row["kernel"]: row for row in step["rows"]}
    assert step["is"] == PREDICTED and "NVIDIA H200" in step["title"] and "2,000 interactions" in step["title"]
    assert step["captured_us"] == pytest.approx(sum(row["predicted_us"] for row in step["rows"]))
    assert step["kernels"] == sum(row["kernels"] for row in step["rows"])
    assert step["launched_us"] > 3.4999 * step["kernels"]
    # A table of users, towers, preferences of users and items: Adam moves seven times what the parameters are.
    towers = chain(*((256 * width + 256, 64 * 256 + 64) for width in (40, 24)))
    parameters = 300 * 2 * 64 + sum(towers) + (300 + 200) * 2
    assert rows["aten._fused_adam_"]["bytes"] == 7 * 4 * parameters

    file = tmp_path / "measured.json"
    file.write_text(json.dumps({"row_sum_kernel": 123.5, "sm90_gemm": 10.0}))
    main([*SIZE, "--measured", str(file)])
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith("row_sum_kernel"))
    assert PREDICTED in text and row.endswith("123.5") and "of which 10 of other names" in text


@pytest.mark.parametrize(
    "arguments, message",
    (
        (["--users", "300"], "name a --dataset"),
        ([*SIZE, "--modalities", "image"], "--modalities are 1, --features 2"),
        ([*SIZE, "--kind", "mi300"], "invalid choice"),
    ),
)
def test_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err
