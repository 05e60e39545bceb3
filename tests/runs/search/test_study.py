"""The study: who works on which trial, what is pruned, and what becomes of trials whose process is gone."""

import threading

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from mde_fast.errors import InputError
from mde_fast.search.study import FIXED, Study

SPACE = {"learning_rate": FloatDistribution(0.001, 1.0, log=True), "mda": CategoricalDistribution(["fro", "abs_cos"])}
SETTINGS = {"dataset": {"name": "shop"}, "value of a fixed option": {"epochs": 6, "topk": [5, 10]}, "space": {}}
PRESET = {"learning_rate": 0.1, "mda": "fro"}


@pytest.fixture
def study(tmp_path):
    """study(...) opens the same folder each time, as another process would."""

    def study(settings=SETTINGS, **arguments) -> Study:
        named = {"model": "mde", "preset": PRESET, "seed": 3, **arguments}
        return Study(tmp_path / "search", SPACE, settings, **named)

    return study


def report(study: Study, running, values: list[float]) -> bool:
    best = max(values)
    record = {"value": best, "best_epoch": values.index(best) + 1, "epochs": len(values), "seconds": 1.0}
    told = study.study.get_trials(deepcopy=False)[running.trial.number].intermediate_values
    new = {epoch: value for epoch, value in enumerate(values, 1) if epoch not in told}
    return study.report(running, new, record)


def finish(study: Study, values: list[float], total: int = 100):
    running = study.begin(total)
    report(study, running, values)
    study.end(running, TrialState.COMPLETE)
    return running.trial


def test_the_first_is_the_preset_and_the_others_are_not(study):
    one = study()
    trials = [finish(one, [0.1]) for _ in range(4)]
    assert trials[0].params == PRESET
    assert all(trial.params != PRESET for trial in trials[1:])
    assert [trial.user_attrs.get("preset", False) for trial in trials] == [True, False, False, False]


def test_a_preset_partly_outside(study):
    trial = finish(study(preset={"mda": "fro"}), [0.1])
    assert trial.params["mda"] == "fro" and 0.001 <= trial.params["learning_rate"] <= 1


def test_no_more_than_the_total_by_all_together(study):
    one, other = study(), study()
    finish(one, [0.1], total=3)
    running = other.begin(3), one.begin(3)
    assert None not in running
    assert one.begin(3) is None and other.begin(3) is None
    assert one.begin(4) is not None


def test_processes_draw_differently(study):
    one, other = study(), study()
    running = [process.begin(100) for process in (one, other, one, other, one, other)]
    assert len({each.trial.params["learning_rate"] for each in running}) == 6


def test_the_seed_decides(tmp_path):
    def drawn(name: str, seed: int, number: int) -> list[dict]:
        study = Study(tmp_path / name, SPACE, SETTINGS, model="mde", preset=PRESET, seed=seed)
        return [finish(study, [0.1 * place]).params for place in range(number)]

    once = drawn("one", 3, 12)  # the sampler looks at earlier trials from the eleventh on
    assert once == drawn("other", 3, 12)
    assert drawn("one more", 4, 2)[1] != once[1]


def test_one_that_was_left_comes_first_and_has_its_folder(study):
    one, other = study(), study()
    finish(one, [0.1])
    left = one.begin(100)
    report(one, left, [0.2])
    running = one.begin(100)
    one.leave(left)
    again = other.begin(100)
    assert again.folder == left.folder and again.trial.params == left.trial.params
    assert running.folder != left.folder
    states = [trial.state for trial in one.study.get_trials(deepcopy=False)]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING, TrialState.RUNNING]
    assert len(one.trials()) == 3, "it counts once"
    report(other, again, [0.2, 0.3])
    other.end(again, TrialState.COMPLETE)
    assert other.best().value == 0.3


def test_one_that_runs_is_left_alone(study):
    one, other = study(), study()
    running = one.begin(100)
    other.collect_abandoned()
    assert [trial.state for trial in other.trials()] == [TrialState.RUNNING]
    one.leave(running)
    other.collect_abandoned()
    assert [trial.state for trial in other.trials()] == [TrialState.WAITING]


def test_one_that_ends_while_others_look_for_those_that_were_left(study, monkeypatch):
    """It must not be found running, and its lock gone: it would be put back in line, and told twice."""
    one, other = study(), study()
    running = one.begin(100)
    report(one, running, [0.3])
    ending = threading.Thread(target=one.end, args=(running, TrialState.COMPLETE))
    get_trials = other.study.get_trials

    def get_trials_and_wait(**arguments):
        trials = get_trials(**arguments)
        ending.start()
        ending.join(0.5)  # time enough to end, if nothing holds it back
        return trials

    with monkeypatch.context() as patch:
        patch.setattr(other.study, "get_trials", get_trials_and_wait)
        other.collect_abandoned()
    ending.join()
    (trial,) = other.trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.3)


def test_the_preset_is_not_lost_when_its_process_dies(study):
    one = study()
    one.leave(one.begin(100))
    again = study().begin(100)
    assert again.is_preset and again.trial.params == PRESET


@pytest.mark.parametrize("step", ["enqueue_trial", "tell"])
def test_killed_while_it_was_put_back(study, monkeypatch, step):
    """A trial is put in line again, then given up: the process may be killed before the one or the other."""
    one = study()
    left = one.begin(100)
    one.leave(left)
    with monkeypatch.context() as patched:
        patched.setattr(one.study, step, lambda *arguments, **others: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            one.collect_abandoned()
    two = study()
    two.collect_abandoned()
    assert [trial.state for trial in two.trials()] == [TrialState.WAITING]
    assert two.begin(100).trial.params == PRESET


def test_an_enqueued_point_is_next_and_what_it_leaves_out_is_proposed(study):
    one = study()
    finish(one, [0.1])
    one.study.enqueue_trial({"mda": "abs_cos"})
    running = one.begin(100)
    assert running.problem is None and running.trial.params["mda"] == "abs_cos"
    assert 0.001 <= running.trial.params["learning_rate"] <= 1


def test_an_enqueued_point_that_cannot_be_trained(study):
    one = study()
    finish(one, [0.1])
    one.study.enqueue_trial({"mda": "nonsense", "learning_rate": 0.1})
    running = one.begin(100)
    assert running.problem == "the enqueued point: mda: nonsense is not one of fro, abs_cos"
    one.end(running, TrialState.FAIL, running.problem)
    assert one.begin(100).problem is None
    states = [trial.state for trial in one.trials()]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING], "it is not in line again"


def test_an_enqueued_point_that_killed_a_process(study):
    """Whatever became of it then, it is looked at again and found to be wrong."""
    one = study()
    finish(one, [0.1])
    one.study.enqueue_trial({"mda": "nonsense"})
    one.study.ask()
    assert "nonsense" in study().begin(100).problem


def test_a_failure_is_not_tried_again(study):
    one = study()
    running = one.begin(100)
    one.end(running, TrialState.FAIL, "epoch 1: too hot")
    (trial,) = one.trials()
    assert (trial.state, trial.user_attrs["reason"]) == (TrialState.FAIL, "epoch 1: too hot")
    assert one.begin(1) is None and one.begin(2).folder != running.folder


def test_killed_while_it_failed(study, monkeypatch):
    one = study()
    running = one.begin(100)
    with monkeypatch.context() as patched:
        patched.setattr(one.study, "tell", lambda *arguments, **others: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            one.end(running, TrialState.FAIL, "too hot")
    one.leave(running)
    two = study()
    two.collect_abandoned()
    assert [trial.state for trial in two.trials()] == [TrialState.FAIL]


def test_what_was_left_behind_is_removed(study):
    one = study()
    running = one.begin(100)
    (running.folder / "checkpoints").mkdir()
    (running.folder / "checkpoints/last.json").write_text("{}")
    report(one, running, [0.1])
    one.study.tell(running.trial, 0.1)  # and then the process was killed
    one.leave(running)
    study().begin(100)
    assert not list(running.folder.iterdir())


def test_below_the_median_at_the_same_epoch(study):
    one = study(pruned_from=3)
    for top in (0.1, 0.2, 0.3, 0.4, 0.5):
        finish(one, [0.0, 0.0, 0.0, top])
    good, bad = one.begin(100), one.begin(100)
    assert [report(one, good, [0.0] * epoch + [0.35]) for epoch in (2, 3)] == [False, False]
    assert not report(one, bad, [0.25]) and not report(one, bad, [0.25, 0.25])
    assert not report(one, bad, [0.25, 0.25, 0.25]), "the others were no better at that epoch"
    assert report(one, bad, [0.25, 0.25, 0.25, 0.25])


def test_too_few_to_compare_with(study):
    one = study(pruned_from=1)
    for _ in range(4):
        finish(one, [0.5])
    assert not report(one, one.begin(100), [0.1])


def test_the_preset_and_searches_without_a_pruner_are_never_pruned(study, tmp_path):
    one = study(pruned_from=1)
    preset = one.begin(100)
    for _ in range(6):
        finish(one, [0.5])
    assert not report(one, preset, [0.1]) and report(one, one.begin(100), [0.1])
    none = Study(tmp_path / "other", SPACE, SETTINGS, model="mde", preset=PRESET)
    for _ in range(6):
        finish(none, [0.5])
    assert not report(none, none.begin(100), [0.1])


def test_the_best_is_complete_and_the_earliest(study):
    one = study()
    assert one.best() is None
    finish(one, [0.2])
    first = finish(one, [0.5, 0.4])
    finish(one, [0.5])
    pruned = one.begin(100)
    report(one, pruned, [0.9])
    one.end(pruned, TrialState.PRUNED)
    assert one.best().number == first.number


@pytest.mark.parametrize(
    "section, changes, said",
    [
        ("value of a fixed option", {"epochs": 7}, "another value of a fixed option (epochs: 6 then, 7 now)"),
        ("dataset", {"name": "mall"}, "another dataset (name: shop then, mall now)"),
        ("space", {"mda": "fro, row_l2"}, "another space (mda: None then, fro, row_l2 now)"),
    ],
)
def test_other_settings_are_refused(study, section, changes, said):
    study()
    with pytest.raises(InputError) as caught:
        study({**SETTINGS, section: {**SETTINGS[section], **changes}})
    assert said in str(caught.value) and "name another --output" in str(caught.value)
    study()


def with_fixed(**values) -> dict:
    return {**SETTINGS, FIXED: values}


@pytest.mark.parametrize(
    "then, now", [({"topk": (5, 10)}, {"topk": [5, 10]}), ({"epochs": 6, "mda": "fro"}, {"epochs": 6})]
)
def test_values_that_mean_the_same_or_nothing_any_more_are_no_other_settings(study, then, now):
    study(with_fixed(**then))
    study(with_fixed(**now))


def test_an_option_that_is_younger_than_the_search_had_its_default(study):
    study(with_fixed(epochs=6))
    study(with_fixed(epochs=6, nlt="preference"))
    with pytest.raises(InputError, match="another value of a fixed option .nlt: preference then, free now"):
        study(with_fixed(epochs=6, nlt="free"))


@pytest.mark.parametrize(
    "now", [{"mda": "fro, abs_cos"}, {"mda": "fro, abs_cos", "msa": "cosine, infonce", "n_layers": "1, 2"}]
)
def test_an_option_more_or_less_is_another_space(study, now):
    study({**SETTINGS, "space": {"mda": "fro, abs_cos", "msa": "cosine, infonce"}})
    with pytest.raises(InputError, match="another space"):
        study({**SETTINGS, "space": now})


def test_a_database_that_is_none(study, tmp_path):
    (tmp_path / "search").mkdir()
    (tmp_path / "search/study.db").write_bytes(b"not a database at all" * 1000)
    with pytest.raises(InputError, match="its study.db cannot be used .file is not a database"):
        study()
