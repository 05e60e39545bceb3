"""A document in a folder, in every form."""

from __future__ import annotations

from ..files import Folder
from .document import Document
from .markdown import to_markdown
from .page import to_html


def write_document(files: Folder, name: str, document: Document) -> None:
    """Write ``name.md`` and ``name.html``; the page has the pictures in it that lie in the folder already.

    Raises:
        mde_fast.errors.InputError: the folder cannot be written.
    """
    files.write_text(f"{name}.md", to_markdown(document))
    files.write_text(f"{name}.html", to_html(document, files.path))
