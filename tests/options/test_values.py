"""Values as people write them, in YAML or on the command line, become an option's type or are refused."""

from __future__ import annotations

import pytest
from refused import assert_refused

from mde_fast.options import Option, convert, one_of, plain, shown


def of_type(kind) -> Option:
    return Option("it", "nobody", kind, None, "", None, None, {}, None, "0.1.0")


INTS, FLOATS, NAMES = tuple[int, ...], tuple[float, ...], dict[str, str]


@pytest.mark.parametrize(
    "kind, written, value",
    [
        (int, "3", 3),
        (int, 10.0, 10),
        (int, [7], 7),  # MMRec writes grids; a grid of one is a value
        (float, "1e-4", 1e-4),  # which YAML reads as text
        (float, 1, 1.0),
        (float, [0.5], 0.5),
        (float | None, None, None),
        (float | None, "2", 2.0),
        (bool, True, True),
        (bool, "Yes", True),
        (bool, "1", True),
        (bool, "FALSE", False),
        (bool, 0, False),
        (str, "null", "null"),
        (str, 12, "12"),
        (str | None, None, None),
        (str | None, "", ""),
        (INTS, 5, (5,)),
        (INTS, "5, 10", (5, 10)),
        (INTS, [5, 10.0], (5, 10)),
        (INTS, "", ()),
        (FLOATS, ".1,.9", (0.1, 0.9)),
        (NAMES, "image=a.npy,text=b=c.npy", {"image": "a.npy", "text": "b=c.npy"}),
        (NAMES, {"image": "a.npy"}, {"image": "a.npy"}),
        (NAMES, "", {}),
    ],
)
def test_values_as_people_write_them(kind, written, value):
    converted = convert(of_type(kind), written, "")
    assert converted == value and type(converted) is type(value)


@pytest.mark.parametrize(
    "kind, written, said",
    [
        (int, "1.5", "needs a whole number"),
        (int, "ten", "needs a whole number"),
        (int, "", "needs a whole number"),
        (int, None, "needs a whole number"),
        (int, True, "needs a whole number"),
        (int, "inf", "needs a whole number"),
        (int, {"a": 1}, "needs a whole number"),
        (int, [1, 2], "needs one value, not a list; run once for each"),
        (int, [], "needs one value, not a list"),
        (float, "fast", "needs a number"),
        (float, "nan", "needs a number"),
        (float, "inf", "needs a number"),
        (float, False, "needs a number"),
        (float | None, "soon", "needs a number"),
        (bool, "maybe", "needs true or false"),
        (bool, 3, "needs true or false"),
        (str, None, "needs a value"),
        (str, ["a", "b"], "needs one value, not a list"),
        (INTS, "5,x", "needs a whole number"),
        (INTS, [[5], 10], "needs a whole number"),
        (INTS, {5: 10}, "needs a whole number"),
        (INTS, None, "needs a whole number"),
        (NAMES, "image", "needs name=file,name=file"),
        (NAMES, "image=", "needs name=file"),
        (NAMES, "=a.npy", "needs name=file"),
        (NAMES, "image=a,image=b", "image has two files; keep one"),
    ],
)
def test_values_of_another_type_are_refused(kind, written, said):
    assert_refused(lambda: convert(of_type(kind), written, "mine.yaml"), f"mine.yaml: it={written}: {said}")


@pytest.mark.parametrize("value", [(0.1, 0.9), (), 3, 0.5, True, "a b", {"image": "a.npy", "text": "b=c.npy"}, {}])
def test_a_value_as_it_is_shown_is_read_back(value):
    kind = {tuple: FLOATS, dict: NAMES}.get(type(value), type(value))
    assert convert(of_type(kind), shown(value), "") == value


def test_tuples_are_plain_lists():
    assert plain((1, 2)) == [1, 2] and plain("a") == "a" and plain({"a": "b"}) == {"a": "b"}


def test_a_grid_of_one_is_its_value():
    assert one_of([3]) == one_of(3) == 3
