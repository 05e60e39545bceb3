"""bf16 where the processor has none: refused with the two times, unless somebody insists."""

import pytest
import torch
from small_runs import FLAGS, metrics

from mde_fast.runs import assemble
from mde_fast.runs.run import RunFolder
from mde_fast.training import precision
from mde_fast.training.memory import out_of_memory_advice
from mde_fast.training.precision import ProductTimes, product_times

BF16 = [*FLAGS, "--epochs=1", "--precision=bf16"]


@pytest.fixture(params=("slow", "fast"))
def processor(request, monkeypatch) -> str:
    """One whose bf16 products are slow or fast."""
    times = ProductTimes(1.5, 120.0 if request.param == "slow" else 0.5)
    for module in (precision, assemble):
        monkeypatch.setattr(module, "product_times", lambda: times)
    monkeypatch.setattr("mde_fast.training.memory.product_times", lambda: times)
    monkeypatch.setattr("mde_fast.runs.life.product_times", lambda: times)
    assemble._say_float32_is_used.cache_clear()
    return request.param


def test_two_times_are_measured_once():
    times = product_times()
    assert times.float32 > 0 and times.bfloat16 > 0
    assert product_times() == times
    assert str(ProductTimes(1.5, 120)) == "120 ms in bf16, 1.5 ms in float32 for a product of 512 x 1024 x 256"


def test_training_is_refused_where_bf16_is_slower(processor, command, refused, shop):
    outcome = command("train", *BF16, "--output=run")
    if processor == "slow":
        refused(
            outcome, "bf16 is slower than float32 on this CPU (120 ms in bf16, 1.5 ms in float32", "--precision fp32"
        )
        outcome = command("train", *BF16, "--slow-precision", "--output=run")
    assert outcome.status == 0, outcome.err
    assert metrics(RunFolder("run").path)["precision"] == "bf16"


def test_a_run_goes_on_as_it_was_begun(processor, command, shop):
    """On another machine than the one that it was begun on."""
    assert command("train", *BF16, "--slow-precision", "--output=run").status == 0
    outcome = command("train", "--resume=run", "--epochs=2", "--slow-precision=false")
    assert outcome.status == 0 and metrics(RunFolder("run").path)["precision"] == "bf16"
    assert ("bf16 is slower than float32 on this CPU" in outcome.err) == (processor == "slow")


def test_experiments_choose_float32(processor, command, shop):
    flags = [flag for flag in BF16 if "preset" not in flag]
    outcome = command("experiments", "table2", *flags, "--seeds=999", "--preset=none")
    assert outcome.status == 0, outcome.err
    used = RunFolder("experiments/shop/runs/mde-seed999").config().training.precision
    assert used == ("fp32" if processor == "slow" else "bf16")
    said = outcome.out.count("float32 is used: bf16 is slower on this CPU")
    assert said == (processor == "slow")


def test_but_not_where_the_experiment_is_about_it(processor, command, shop):
    flags = [flag for flag in FLAGS if "preset" not in flag]
    assert command("experiments", "precision", *flags, "--epochs=1", "--seeds=999", "--preset=none").status == 0
    assert RunFolder("experiments/shop/runs/mde-bf16-seed999").config().training.precision == "bf16"


def test_a_search_chooses_float32(processor, command, shop):
    pytest.importorskip("optuna")
    flags = [flag for flag in BF16 if "learning-rate" not in flag]
    outcome = command("search", *flags, "--trials=1")
    assert outcome.status == 0, outcome.err
    (options,) = RunFolder("search/shop/trials").path.glob("*/options.yaml")
    assert ("precision: fp32" in options.read_text()) == (processor == "slow")


def test_what_is_slower_is_not_recommended_when_memory_is_short(processor):
    on_gpu = torch.OutOfMemoryError("CUDA out of memory")
    assert "--device cpu, --precision bf16, --storage bf16, a smaller" in out_of_memory_advice(on_gpu)
    assert ("--precision bf16" in out_of_memory_advice(MemoryError())) == (processor == "fast")
    assert "--device cpu" not in out_of_memory_advice(MemoryError())
