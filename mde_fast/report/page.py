"""A document as a web page that stands by itself: its style and its pictures are in it, and it loads nothing."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path

from .. import __version__
from .document import Block, Bullets, Caution, Code, Document, Paragraph, Picture, Table

STYLE = Path(__file__).with_name("page.css")
# The browser holds to it, too: whatever a report may quote, nothing is loaded and nothing is run.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
BEGINS_WITH_A_NUMBER = re.compile(r"[-+<]?\d|-$")  # a lone dash stands for a number that is not there
LONGEST_LINE = 40  # characters of a cell; a longer one is broken into lines


def to_html(document: Document, folder: Path | None = None) -> str:
    """The whole document as one page, light or dark as the reader's system is; every text is escaped.

    Args:
        folder: where the document's pictures lie, to be embedded. Without it, or where one is not there, the page has
            its description instead.
    """
    title = escape(document.title)
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta name="generator" content="mde_fast {__version__}">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{title}</title>",
        f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>",
        "</head>",
        "<body>",
        "<main>",
        f"<h1>{title}</h1>",
        *(_block(block, folder) for block in document.blocks),
    ]
    for section in document.sections:
        lines += ["<section>", f"<h2>{escape(section.title)}</h2>"]
        lines += [_block(block, folder) for block in section.blocks]
        lines.append("</section>")
    return "\n".join([*lines, "</main>", "</body>", "</html>"]) + "\n"


def _block(block: Block, folder: Path | None) -> str:
    match block:
        case Paragraph(text, strong):
            return f"<p>{f'<strong>{escape(strong)}</strong>' if strong else ''}{escape(text)}</p>"
        case Caution(text):
            return f'<p class="caution" role="note">{escape(text)}</p>'
        case Bullets(items):
            return "\n".join(["<ul>", *(f"<li>{escape(item)}</li>" for item in items), "</ul>"])
        case Table(head, lines):
            return _table(head, lines)
        case Picture(file, description):
            return _picture(file, description, folder)
        case Code(text):
            return f"<pre><code>{escape(text)}</code></pre>"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in a box of its own, which scrolls where the window is narrow; columns of numbers stand at the right."""
    numbers = [_are_numbers([line[place] for line in lines]) for place in range(len(head))]
    top = "".join(f'<th scope="col"{_kind(name, right)}>{escape(name)}</th>' for name, right in zip(head, numbers))
    rows = (
        "".join(f"<td{_kind(cell, right)}>{escape(cell)}</td>" for cell, right in zip(row, numbers)) for row in lines
    )
    return "\n".join(
        [
            '<div class="wide" tabindex="0"><table>',
            f"<thead><tr>{top}</tr></thead>",
            "<tbody>",
            *(f"<tr>{row}</tr>" for row in rows),
            "</tbody>",
            "</table></div>",
        ]
    )


def _are_numbers(cells: Sequence[str]) -> bool:
    """Whether most of a column's cells are numbers, and none is too long for its line."""
    filled = [cell for cell in cells if cell]
    numbers = [cell for cell in filled if BEGINS_WITH_A_NUMBER.match(cell)]
    return 2 * len(numbers) > len(filled) and max(map(len, filled)) <= LONGEST_LINE


def _kind(cell: str, number: bool) -> str:
    """The attribute that says how a cell is set."""
    if number:
        return ' class="number"'
    return ' class="long"' if len(cell) > LONGEST_LINE else ""


def _picture(file: str, description: str, folder: Path | None) -> str:
    path = None if folder is None else folder / file
    if path is None or not path.is_file():
        return f"<p>[{escape(description)}: {escape(file)}]</p>"
    content = b64encode(path.read_bytes()).decode("ascii")
    kind = path.suffix.removeprefix(".").lower()
    return f'<figure><img src="data:image/{kind};base64,{content}" alt="{escape(description)}"></figure>'
