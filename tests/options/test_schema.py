"""An option is written once, as a field, and knows all that is asked of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import pytest
from refused import assert_refused

from mde_fast.options import Option, Options, Range, at_least, option, positive, seed


def half(value: float) -> float:
    return value / 2


@dataclass(frozen=True)
class OvenOptions(Options):
    owner: ClassVar[str] = "oven"

    heat: float = option(180.0, "degrees", mmrec={"twice": half}, check=positive, search=Range(100, 250, log=True))
    trays: int = option(2, "on which it bakes", mmrec=("sheets", "racks"), check=at_least(1), search=(1, 2, 4))
    mode: str = option("air", "how the heat moves", choices=("air", "grill"))
    minutes: float | None = option(None, "after which it stops", check=positive, since="0.2.0")
    dishes: dict[str, str] = option({}, "tray=dish")
    fan: str = option("fast", "how it turns", since="0.2.0", before="off")
    shares: tuple[float, ...] = option((), "of the trays", check=lambda value: "are too many" if value[2:] else None)


def test_an_option_knows_all_that_was_written_of_it():
    assert OvenOptions.schema()["heat"] == Option(
        name="heat",
        owner="oven",
        type=float,
        default=180.0,
        help="degrees",
        choices=None,
        check=positive,
        mmrec={"twice": half},
        search=Range(100, 250, log=True),
        since="0.1.0",
    )


def test_options_come_in_the_order_in_which_they_are_written():
    assert list(OvenOptions.schema()) == ["heat", "trays", "mode", "minutes", "dishes", "fan", "shares"]


def test_what_is_not_written_is_left_open():
    mode = OvenOptions.schema()["mode"]
    assert (mode.check, mode.mmrec, mode.search, mode.since) == (None, {}, None, "0.1.0")
    assert mode.earlier == mode.default


def test_a_younger_option_may_mean_something_else_where_it_is_not_named():
    fan = OvenOptions.schema()["fan"]
    assert (fan.default, fan.earlier) == ("fast", "off")


def test_names_of_mmrec_may_stand_for_the_same_value_or_for_another():
    assert OvenOptions.schema()["trays"].mmrec == {"sheets": None, "racks": None}
    assert OvenOptions.schema()["heat"].mmrec["twice"](360) == 180


def test_types_are_those_of_the_annotations():
    kinds = {name: entry.type for name, entry in OvenOptions.schema().items()}
    assert kinds == {
        "heat": float,
        "trays": int,
        "mode": str,
        "minutes": float | None,
        "dishes": dict[str, str],
        "fan": str,
        "shares": tuple[float, ...],
    }


@pytest.mark.parametrize(
    "values, said",
    [
        ({"heat": 0.0}, "heat: 0.0 must be greater than 0"),
        ({"trays": 0}, "trays: 0 must be 1 or more"),
        ({"mode": "steam"}, "mode: 'steam' is not one of air, grill"),
        ({"minutes": -1.0}, "minutes: -1.0 must be greater than 0"),
        ({"shares": (0.5, 0.25, 0.25)}, "shares: 0.5,0.25,0.25 are too many"),
    ],
)
def test_values_that_an_option_cannot_have_are_refused_when_options_are_made(values, said):
    assert_refused(lambda: OvenOptions(**values), said)


def test_no_value_is_no_wrong_value():
    assert OvenOptions(minutes=None).minutes is None


def test_options_cannot_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        OvenOptions().heat = 200.0


def test_defaults_are_not_shared():
    OvenOptions().dishes["upper"] = "bread"
    assert OvenOptions().dishes == OvenOptions.schema()["dishes"].default == {}


def test_a_seed_is_what_every_generator_takes():
    assert seed(0) is None and seed(2**63 - 1) is None
    assert seed(-1) == seed(2**63) == "must be 0 or more, and below 2 ** 63"
