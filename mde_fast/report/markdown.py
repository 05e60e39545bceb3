"""A document as Markdown."""

from __future__ import annotations

from .document import Block, Bullets, Caution, Code, Document, Paragraph, Picture, Table


def to_markdown(document: Document) -> str:
    """The whole document; what its texts hold is taken as it is."""
    parts = [f"# {document.title}", *map(block_to_markdown, document.blocks)]
    for section in document.sections:
        parts += [f"## {section.title}", *map(block_to_markdown, section.blocks)]
    return "\n\n".join(parts) + "\n"


def block_to_markdown(block: Block) -> str:
    """One block, without a line break at its end."""
    match block:
        case Paragraph(text, strong):
            return f"**{strong}**{text}" if strong else text
        case Caution(text):
            return f"**{text}**"
        case Bullets(items):
            return "\n".join(f"- {item}" for item in items)
        case Table(head, lines):
            return "\n".join([_line(head), "|" + "---|" * len(head), *map(_line, lines)])
        case Picture(file, description):
            return f"![{description}]({file})"
        case Code(text):
            return f"```\n{text}\n```"


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(" ".join(cell.splitlines()).replace("|", "\\|") for cell in cells) + " |"
