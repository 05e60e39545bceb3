"""What it means for something that a person gave to be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mde_fast.errors import InputError


def assert_refused(call: Callable[[], Any], *parts: object) -> None:
    """It raises what becomes one line on the command line, and the line has all the parts."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message, message
