"""How an option is written: once, by the room or the model that owns it."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, ClassVar

from ..errors import InputError

FIRST_VERSION = "0.1.0"  # that wrote files; they do not say so


@dataclass(frozen=True)
class Range:
    """Numbers that a search tries, evenly or on a logarithmic scale."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Option:
    """One option, as everything that reads or shows options needs it.

    Attributes:
        name: of the field, the YAML key and, with hyphens, the flag.
        owner: the room or the model that has it.
        type: of its values, as annotated.
        default, help: its value when nobody says otherwise, and a line that explains it.
        choices: the values that it may take, if they can be listed.
        check: what is wrong with a value, or None if nothing is.
        mmrec: its names in MMRec's files -> what makes our value of theirs, None where it is the same.
        search: what a search tries when not told otherwise; None where it leaves the option alone.
        since: the version that had it first; older files do not name it.
        before: the value that it has in those, if that is not its default.
    """

    name: str
    owner: str
    type: Any
    default: Any
    help: str
    choices: tuple | None
    check: Callable[[Any], str | None] | None
    mmrec: Mapping[str, Callable[[Any], Any] | None]
    search: Range | tuple | None
    since: str
    before: Any = None

    @property
    def earlier(self) -> Any:
        """What a file that is older than the option means by not naming it."""
        return self.default if self.before is None else self.before

    def require(self, value: Any) -> None:
        """Refuse a value of the right type that the option cannot have.

        Raises:
            InputError: it is none of the choices, or fails the check.
        """
        if self.choices is not None and value not in self.choices:
            raise InputError(f"{self.name}: {value!r} is not one of {', '.join(map(str, self.choices))}")
        problem = self.check(value) if self.check is not None and value is not None else None
        if problem:
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            raise InputError(f"{self.name}: {shown} {problem}")


def option(
    default: Any,
    help: str,
    *,
    choices: tuple | None = None,
    check: Callable[[Any], str | None] | None = None,
    mmrec: tuple[str, ...] | Mapping[str, Callable[[Any], Any]] = (),
    search: Range | tuple | None = None,
    since: str = FIRST_VERSION,
    before: Any = None,
) -> Any:
    """A field of a class of :class:`Options`; the arguments are the attributes of :class:`Option`."""
    names = dict(mmrec) if isinstance(mmrec, Mapping) else dict.fromkeys(mmrec)
    metadata = {"help": help, "choices": choices, "check": check, "mmrec": names, "search": search}
    metadata |= {"since": since, "before": before}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """The options of a room or a model: a frozen dataclass of fields made by :func:`option`, checked when made.

    Attributes:
        owner: the room's or the model's name, for ``--help`` and for messages.
        mmrec_ignored: keys of MMRec's file of this model that have no effect here -> why.
    """

    owner: ClassVar[str] = ""
    mmrec_ignored: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self):
        for entry in self.schema().values():
            entry.require(getattr(self, entry.name))

    @classmethod
    def schema(cls) -> dict[str, Option]:
        """Name -> option, in the order in which they are written."""
        return _schema(cls)


@cache
def _schema(cls: type[Options]) -> dict[str, Option]:
    types = typing.get_type_hints(cls)
    return {
        entry.name: Option(
            name=entry.name,
            owner=cls.owner,
            type=types[entry.name],
            default=entry.default if entry.default is not MISSING else entry.default_factory(),  # type: ignore[misc]
            **entry.metadata,
        )
        for entry in fields(cls)
    }


# ---------------------------------------------------------------------------------------------------------------------
# Checks that several options share.


def at_least(low: float) -> Callable[[float], str | None]:
    return lambda value: None if value >= low else f"must be {low} or more"


def positive(value: float) -> str | None:
    return None if value > 0 else "must be greater than 0"


def share(value: float) -> str | None:
    return None if 0 <= value <= 1 else "must be from 0 to 1"


def share_left_out(value: float) -> str | None:
    return None if 0 <= value < 1 else "must be 0 or more, and below 1"


def seed(value: int) -> str | None:
    return None if 0 <= value < 2**63 else "must be 0 or more, and below 2 ** 63"
