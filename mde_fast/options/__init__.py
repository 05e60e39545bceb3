"""How an option is written, read and shown. What options there are is for the rooms and models that own them."""

from .difference import Changed, described, difference
from .schema import Option, Options, Range, at_least, option, positive, seed, share, share_left_out
from .values import convert, one_of, plain, shown
from .yaml_file import read_mapping, to_yaml

__all__ = [
    "Changed",
    "Option",
    "Options",
    "Range",
    "at_least",
    "convert",
    "described",
    "difference",
    "one_of",
    "option",
    "plain",
    "positive",
    "read_mapping",
    "seed",
    "share",
    "share_left_out",
    "shown",
    "to_yaml",
]
