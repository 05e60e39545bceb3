"""The index of docs/ names every page, and the pages' links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])


def _prose(page: Path) -> str:
    """A page without its code, where brackets are no links."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def _links(page: Path) -> list[str]:
    """Targets within the repository, as they stand in the page."""
    targets = re.findall(r"\]\(([^()\s]+)\)", _prose(page))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def _anchors(page: Path) -> set[str]:
    """What a heading of a page is called in a link to it."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index():
    named = [target for target in _links(DOCS / "README.md") if target.endswith(".md") and "/" not in target]
    assert len(named) == len(set(named)), "a page is named twice"
    assert set(named) == {page.name for page in DOCS.glob("*.md")} - {"README.md"}


def _problem(page: Path, target: str) -> str | None:
    path, _, anchor = target.partition("#")
    place = (page.parent / path).resolve() if path else page
    if not place.exists():
        return f"{target} is not there"
    if ROOT not in place.parents:
        return f"{target} leaves the repository"
    if anchor and anchor not in _anchors(place):
        return f"{target} has no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_something(page):
    problems = [_problem(page, target) for target in _links(page)]
    assert not [problem for problem in problems if problem]
