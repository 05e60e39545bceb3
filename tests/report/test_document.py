"""One document as Markdown and as a page: nothing is lost, nothing is run, nothing is loaded."""

from base64 import b64encode
from html.parser import HTMLParser

import pytest

from mde_fast.errors import InputError
from mde_fast.report.document import Bullets, Caution, Code, Document, Paragraph, Picture, Section, Table
from mde_fast.report.markdown import block_to_markdown, to_markdown
from mde_fast.report.page import to_html
from mde_fast.report.write import write_document
from mde_fast.runs.run import RunFolder

PNG = b"\x89PNG\r\n\x1a\n and the rest"
HOSTILE = "<script>alert('x')</script> & \"quoted\" <img src=http://example.org/x.png onerror=alert(1)>"
TIMES = Table(("row", "Recall@5"), (("MDE", "0.0414 ± 0.0009"), ("w/o NLT", "-"), ("variant <A>", "0.04")))
OTHERS = Table(("option", "values"), (("mda", "fro, row_l2"), ("a|b", "")))
DOCUMENT = Document(
    "Table II: ablation",
    (
        Caution("STAND-IN: say nothing."),
        Bullets(("Seeds: 1, 2.", "Data: shop.")),
        Paragraph(" on a CPU\nand nothing else", "times"),
        Picture("curves.png", "loss and recall"),
        Code("a  b\n 1 2"),
    ),
    (Section("Means", (TIMES,)), Section("Options", (OTHERS, Paragraph("That is all.")))),
)


class Seen(HTMLParser):
    """What a browser makes of a page: elements with their attributes, and the cells of each table."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_data(self, data):
        inside = self.elements[-1][0] if self.elements else ""
        if inside in ("th", "td") and data.strip():
            self.tables[-1][-1][-1] += data
        if inside != "style" and data.strip():
            self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def tables_of(markdown: str) -> list[list[list[str]]]:
    """The cells of each table of a text, its head first."""
    tables, before = [], ""
    for line in markdown.splitlines():
        if line.startswith("| "):
            if not before.startswith("|"):
                tables.append([])
            cells = line.replace("\\|", "\0").strip("|").split("|")
            tables[-1].append([cell.strip().replace("\0", "|") for cell in cells])
        before = line
    return tables


def test_markdown():
    assert to_markdown(DOCUMENT) == (
        "# Table II: ablation\n\n"
        "**STAND-IN: say nothing.**\n\n"
        "- Seeds: 1, 2.\n- Data: shop.\n\n"
        "**times** on a CPU\nand nothing else\n\n"
        "![loss and recall](curves.png)\n\n"
        "```\na  b\n 1 2\n```\n\n"
        "## Means\n\n"
        "| row | Recall@5 |\n|---|---|\n| MDE | 0.0414 ± 0.0009 |\n| w/o NLT | - |\n| variant <A> | 0.04 |\n\n"
        "## Options\n\n"
        "| option | values |\n|---|---|\n| mda | fro, row_l2 |\n| a\\|b |  |\n\n"
        "That is all.\n"
    )


def test_a_cell_of_several_lines_stays_in_its_line():
    assert block_to_markdown(Table(("why",), (("no\nmemory",),))).endswith("| no memory |")


def test_a_line_that_does_not_fit_its_head():
    with pytest.raises(ValueError, match="a line of 1 cells under a head of 2"):
        Table(("row", "value"), (("MDE", "1"), ("MDE",)))


def test_both_forms_hold_the_same_tables():
    tables = [[list(table.head), *map(list, table.lines)] for table in (TIMES, OTHERS)]
    assert tables_of(to_markdown(DOCUMENT)) == Seen(to_html(DOCUMENT)).tables == tables


def test_the_page_holds_everything_in_its_order():
    page = to_html(DOCUMENT)
    parts = [
        "<h1>",
        "STAND-IN",
        "Seeds: 1",
        "<strong>times</strong> on a CPU\nand",
        "curves.png",
        "a  b\n 1 2",
        "<h2>M",
    ]
    places = [page.index(part) for part in [*parts, "variant &lt;A&gt;", "<h2>Options", "a|b", "That is all."]]
    assert places == sorted(places)
    seen = Seen(page)
    assert [name for name, _ in seen.elements].count("h1") == 1 and len(seen.named("section")) == 2
    assert {"class": "caution", "role": "note"} in seen.named("p")
    assert seen.named("html") == [{"lang": "en"}] and {"charset": "utf-8"} in seen.named("meta")
    assert "prefers-color-scheme: dark" in page and page.startswith("<!doctype html>\n")


def test_numbers_stand_at_the_right():
    heads = Seen(to_html(DOCUMENT)).named("th")
    assert [head.get("class") for head in heads] == [None, "number", None, None]


def test_long_cells_are_broken_into_lines():
    long = Table(("epoch",), (("3 of 4",), ("5 of 6",), ("failed: " + "no memory left " * 9,)))
    seen = Seen(to_html(Document("", (long,))))
    assert "class" not in seen.named("th")[0]
    assert [cell.get("class") for cell in seen.named("td")] == [None, None, "long"]


def test_every_text_is_escaped():
    blocks = (
        *(Paragraph(HOSTILE), Paragraph("", HOSTILE), Caution(HOSTILE), Bullets((HOSTILE,)), Code(HOSTILE)),
        *(Table((HOSTILE,), ((HOSTILE,),)), Picture(HOSTILE, HOSTILE)),
    )
    seen = Seen(to_html(Document(HOSTILE, blocks, (Section(HOSTILE, blocks),))))
    assert not seen.named("script") and not seen.named("img")
    # The title twice, the heading, and each of the others in both places; a picture that is not there names its file.
    assert "".join(seen.texts).count(HOSTILE) == 3 + 2 * 9


def test_the_description_of_a_picture_is_escaped(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    page = to_html(Document("", (Picture("a.png", '"><script>alert(1)</script>'),)), tmp_path)
    assert not Seen(page).named("script") and Seen(page).named("img")[0]["alt"] == '"><script>alert(1)</script>'


def test_pictures_are_in_the_page(tmp_path):
    (tmp_path / "curves.png").write_bytes(PNG)
    (picture,) = Seen(to_html(DOCUMENT, tmp_path)).named("img")
    assert picture == {"src": f"data:image/png;base64,{b64encode(PNG).decode()}", "alt": "loss and recall"}


def test_a_picture_that_is_not_there_is_described(tmp_path):
    for page in (to_html(DOCUMENT), to_html(DOCUMENT, tmp_path)):
        assert not Seen(page).named("img") and "[loss and recall: curves.png]" in page


def test_the_page_loads_nothing(tmp_path):
    (tmp_path / "curves.png").write_bytes(PNG)
    page = to_html(DOCUMENT, tmp_path)
    seen = Seen(page)
    assert not {"script", "link", "iframe", "object", "a"} & {name for name, _ in seen.elements}
    assert not any("url(" in style or "@import" in style for style in page.split("<style>")[1].split("</style>")[:1])
    for _, attributes in seen.elements:
        named = [attributes[name] or "" for name in ("src", "href") if name in attributes]
        assert all(value.startswith("data:") for value in named)
    assert "://" not in page
    (policy,) = [meta["content"] for meta in seen.named("meta") if "http-equiv" in meta]
    assert policy is not None and policy.startswith("default-src 'none'")


def test_every_form_is_written(tmp_path):
    (tmp_path / "curves.png").write_bytes(PNG)
    write_document(RunFolder(tmp_path), "report", DOCUMENT)
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == to_markdown(DOCUMENT)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == to_html(DOCUMENT, tmp_path)
    with pytest.raises(InputError, match="cannot write report.md"):
        write_document(RunFolder(tmp_path / "nowhere"), "report", DOCUMENT)
