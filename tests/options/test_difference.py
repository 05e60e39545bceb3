"""One comparison says what is not as it was."""

from __future__ import annotations

from mde_fast.options import Changed, described, difference


def test_only_what_differs_is_named_in_the_order_of_now():
    then, now = {"a": 1, "b": 2, "c": 3}, {"c": 4, "b": 2, "a": 0}
    assert difference(then, now) == [Changed("c", 3, 4), Changed("a", 1, 0)]


def test_nothing_differs_from_itself():
    assert difference({"a": 1, "b": (1, 2)}, {"a": 1, "b": (1, 2)}) == []


def test_a_list_and_a_tuple_of_the_same_values_are_the_same():
    """A file knows no tuples."""
    assert difference({"topk": [5, 10]}, {"topk": (5, 10)}) == []
    assert difference({"topk": [5, 10]}, {"topk": (5, 20)}) == [Changed("topk", [5, 10], [5, 20])]


def test_a_name_that_is_younger_had_its_default():
    defaults = {"minutes": None}
    assert difference({}, {"minutes": None}, defaults=defaults) == []
    assert difference({}, {"minutes": 5.0}, defaults=defaults) == [Changed("minutes", None, 5.0)]


def test_what_then_says_wins_over_the_default():
    assert difference({"epochs": 3}, {"epochs": 4}, defaults={"epochs": 4}) == [Changed("epochs", 3, 4)]


def test_a_younger_name_without_a_default_is_passed_over():
    assert difference({}, {"new": 1}) == []


def test_a_name_that_means_nothing_any_more_is_passed_over():
    assert difference({"old": 1}, {}) == []


def test_some_names_may_differ():
    assert difference({"a": 1, "b": 1}, {"a": 2, "b": 2}, without=("a",)) == [Changed("b", 1, 2)]


def test_changes_are_described_in_a_line():
    changes = difference({"epochs": 3, "topk": [5]}, {"epochs": 4, "topk": (5, 10)})
    assert described(changes) == "epochs was 3, is 4; topk was [5], is [5, 10]"
    assert described([]) == ""
