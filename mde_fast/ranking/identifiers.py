"""From the ids that people write to rows: as the data have them, as their text, as NumPy or pandas made them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import InputError

TOO_MANY_TO_COMPARE = 200_000  # ids; a guess at what was meant would take seconds


class Identifiers:
    """The external ids of a table's rows, found again."""

    def __init__(self, ids: Sequence[Any], kind: str):
        """
        Args:
            ids: (N,) external id of each row.
            kind: ``user`` or ``item``, for messages.
        """
        self.ids, self.kind = list(ids), kind
        self._rows = {str(external): row for row, external in enumerate(self.ids)}

    def __getitem__(self, row: int) -> Any:
        return self.ids[row]

    def __len__(self) -> int:
        return len(self.ids)

    def listed(self, externals: Iterable[Any]) -> list[Any]:
        """What was given as a list of single ids, tensors and arrays taken apart.

        Raises:
            InputError: it is no list of ids.
        """
        if isinstance(externals, (Tensor, np.ndarray)):
            externals = externals.tolist()  # a scalar's is a number
        if isinstance(externals, (str, bytes)) or not isinstance(externals, Iterable):  # text: ids of one letter each
            raise InputError(f"{self.kind}s: give a list of ids, [{externals!r}], not one id alone")
        return [_plain(external) for external in externals]

    def row(self, external: Any) -> int | None:
        """The row of an id, None where there is none. 5, "5", 5.0 and NumPy's or a tensor's 5 are one id."""
        external = _plain(external)
        row = self._rows.get(str(external))
        if row is None and isinstance(external, float) and external.is_integer():
            row = self._rows.get(str(int(external)))
        return row

    def unknown(self, external: Any) -> InputError:
        """The error for an id that is not there, with a guess where one can be made."""
        text = str(external)
        guess = ""
        # A number that looks like another one is not what was meant.
        if any(letter.isalpha() for letter in text) and text.lower() != "nan" and len(self._rows) < TOO_MANY_TO_COMPARE:
            near = difflib.get_close_matches(text, self._rows, n=1)
            guess = f"; did you mean {near[0]}?" if near else ""
        return InputError(f"{self.kind} {text}: not in the data that this model was trained on{guess}")


def _plain(external: Any) -> Any:
    """A scalar of NumPy or PyTorch as Python's own, bytes as text."""
    if isinstance(external, (Tensor, np.ndarray, np.generic)):
        external = external.tolist() if getattr(external, "ndim", 0) else external.item()
    if isinstance(external, bytes):
        return external.decode("utf-8", errors="replace")
    return external
