"""Numbers as reports write them."""

from __future__ import annotations


def p_value(value: float) -> str:
    """Two digits; what is too small for a float is still no zero."""
    return f"{value:.2g}" if value > 0 else "<1e-300"
