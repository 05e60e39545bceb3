"""Runs whose image features have three independent columns of sixteen."""

from pathlib import Path

import numpy as np
import pytest
from small_runs import FLAGS, assert_same_result, metrics

from mde_fast.options import read_mapping

FOUND = "features image: 3 of 16 columns are independent: the first layer's products cost 3 (--feature-rank)"


@pytest.fixture(params=("float32", "float64"))
def deficient(shop, request) -> Path:
    """The shop, with a rank of 3 in float32, whatever the file has."""
    return with_rank_three(shop, request.param)


def with_rank_three(shop: Path, dtype: str) -> Path:
    rng = np.random.default_rng(5)
    np.save(shop / "image_feat.npy", (rng.standard_normal((40, 3)) @ rng.standard_normal((3, 16))).astype(dtype))
    return shop


def test_the_log_says_it_once_and_the_files_name_the_option(command, deficient):
    outcome = command("train", *FLAGS, "--epochs=1", "--output=run")
    assert outcome.status == 0 and outcome.out.count(FOUND) == 1, outcome.err
    assert "features text" not in outcome.out
    assert read_mapping("run/config.yaml")["feature_rank"] == metrics(Path("run"))["feature_rank"] == "exact"


@pytest.mark.parametrize("cached", (True, False))
@pytest.mark.parametrize("value", ("exact", "2", "auto:0.5"))
def test_a_stopped_run_goes_on_as_if_it_had_not_been(command, deficient, value, cached):
    flags = [*FLAGS, f"--feature-rank={value}", *(() if cached else ("--cache-dir=none",))]
    for name, epochs in (("whole", 6), ("halfway", 3)):
        assert command("train", *flags, f"--epochs={epochs}", f"--output={name}").status == 0
    outcome = command("train", "--resume=halfway", "--epochs=6")
    assert outcome.status == 0 and "first layer's products cost" in outcome.out
    assert_same_result(Path("halfway"), Path("whole"))


def test_another_rank_is_another_run(command, deficient, refused):
    assert command("train", *FLAGS, "--epochs=1", "--output=run").status == 0
    refused(
        command("train", "--resume=run", "--feature-rank=full", "--epochs=2"), "feature_rank: a resumed run keeps its"
    )


def test_the_first_loss_is_that_of_all_columns(command, deficient):
    first = {}
    for value in ("full", "exact", "1"):
        assert command("train", *FLAGS, "--epochs=1", f"--feature-rank={value}", f"--output={value}").status == 0
        first[value] = (Path(value) / "metrics.jsonl").read_text().partition('"loss": ')[2].partition(",")[0]
    assert float(first["exact"]) == pytest.approx(float(first["full"]), rel=1e-4)
    assert abs(float(first["1"]) / float(first["full"]) - 1) > 1e-4


def test_float16_has_content_of_its_own(command, shop):
    """Its roundings are five in ten thousand: to leave them out is for somebody to say."""
    with_rank_three(shop, "float16")
    outcome = command("train", *FLAGS, "--epochs=1", "--output=exact")
    assert outcome.status == 0 and "--feature-rank" not in outcome.out
    outcome = command("train", *FLAGS, "--epochs=1", "--feature-rank=auto:0.01", "--output=auto")
    assert outcome.status == 0 and "features image: rank 3 instead of 16 columns keeps 100.00%" in outcome.out


def test_features_of_full_rank_train_the_same_bits(command, shop):
    for value in ("full", "exact"):
        assert command("train", *FLAGS, "--epochs=2", f"--feature-rank={value}", f"--output={value}").status == 0
    full, exact = ((Path(value) / "metrics.jsonl").read_text().splitlines() for value in ("full", "exact"))
    for one, other in zip(full, exact):
        assert one.partition('"seconds')[0] == other.partition('"seconds')[0]


def test_a_run_with_factors_ranks_and_is_looked_into(command, deficient):
    assert command("train", *FLAGS, "--epochs=1", "--output=run").status == 0
    for name, arguments in (("recommend", ("run", "--user", 3)), ("inspect", ("run",)), ("evaluate", ("run",))):
        outcome = command(name, *arguments)
        assert outcome.status == 0, outcome.err
