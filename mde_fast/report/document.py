"""A report as data: blocks under headings, which :mod:`.markdown` and :mod:`.page` write down."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paragraph:
    """Running text; its line breaks are kept. ``strong`` comes before it, emphasised."""

    text: str
    strong: str = ""


@dataclass(frozen=True)
class Caution:
    """What nobody may overlook."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of lines."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A head, and lines of as many cells.

    Raises:
        ValueError: a line is longer or shorter than the head.
    """

    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def __post_init__(self):
        for line in self.lines:
            if len(line) != len(self.head):
                raise ValueError(f"a line of {len(line)} cells under a head of {len(self.head)}: {line}")


@dataclass(frozen=True)
class Picture:
    """A picture file that lies beside the report; ``description`` stands in for it where it cannot be seen."""

    file: str
    description: str


@dataclass(frozen=True)
class Code:
    """Text in columns, every blank of which counts."""

    text: str


Block = Paragraph | Caution | Bullets | Table | Picture | Code


@dataclass(frozen=True)
class Section:
    """Blocks under a heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A title, blocks that come before the first heading, and sections."""

    title: str
    blocks: tuple[Block, ...]
    sections: tuple[Section, ...] = ()
