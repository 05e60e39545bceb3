"""LightGCN from the command line: no features are read, and the result is used like any other."""

from small_runs import assert_same_result, epoch_rows, metrics, write_shop

from mde_fast import Recommender


def test_it_trains_without_features_and_recommends(training, command, tmp_path):
    write_shop(tmp_path / "here" / "data", with_features=False)
    assert training("--model", "lightgcn", "--require-real", "--output", "run").status == 0
    result = metrics(tmp_path / "here" / "run")
    assert result["model"] == "lightgcn" and result["data"] == "real"
    losses = [row["loss_parts"]["bpr"] for row in epoch_rows(tmp_path / "here" / "run")]
    assert losses == sorted(losses, reverse=True)
    assert len(Recommender.load("run").recommend(["3"], k=5)[0]) == 5
    again = command("evaluate", "run")
    assert again.status == 0 and f"{result['test']['recall@5']:.4f}" in again.out


def test_a_resumed_run_is_the_run_that_was_never_stopped(trained, command):
    whole, parts = trained("whole", "--model", "lightgcn"), trained("parts", "--model", "lightgcn", "--epochs", 2)
    assert command("train", "--resume", parts, "--epochs", 6).status == 0
    assert_same_result(whole, parts)
