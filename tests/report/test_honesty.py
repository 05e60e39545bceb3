"""What is said where data are not real, in text and on pictures."""

import pytest

from mde_fast.data.dataset import REAL, STAND_IN, STAND_IN_FEATURES
from mde_fast.report import style
from mde_fast.report.curves import plot_curves
from mde_fast.report.document import Caution
from mde_fast.report.honesty import cautions, headline, is_stand_in, on_picture, remark
from mde_fast.report.style import drawing

HISTORY = [
    {"epoch": epoch, "loss": 1 / epoch, "loss_parts": {"bpr": 1 / epoch}, "valid": {"recall@20": 0.1}, "best": True}
    for epoch in (1, 2)
]


@pytest.fixture
def titles(monkeypatch):
    """The titles of the figures that are drawn."""
    titles = []

    class Figure(style.Figure):
        def suptitle(self, t, **settings):
            titles.append(t)
            return super().suptitle(t, **settings)

    monkeypatch.setattr(style, "Figure", Figure)
    return titles


@pytest.mark.parametrize("data", [REAL, None])
def test_nothing_is_said_of_real_data(data, tmp_path, titles):
    assert not is_stand_in(data)
    assert headline(data) == remark(data) == on_picture(data) == "" and cautions(data) == ()
    with drawing(tmp_path / "a.png", (2, 2), title="recall", data=data):
        pass
    assert titles == ["recall"]


def test_what_is_said_of_stand_ins():
    assert is_stand_in(STAND_IN) and is_stand_in(STAND_IN_FEATURES)
    assert headline(STAND_IN) == "STAND-IN: these figures say nothing about real data."
    assert headline(STAND_IN_FEATURES, "values") == "STAND-IN FEATURES: these values say nothing about real data."
    assert cautions(STAND_IN, "values") == (Caution("STAND-IN: these values say nothing about real data."),)
    assert remark(STAND_IN_FEATURES) == "These figures say nothing about real data (stand-in features)."
    assert on_picture(STAND_IN) == "STAND-IN: says nothing about real data"


def test_pictures_say_so_under_their_titles(tmp_path, titles):
    with drawing(tmp_path / "a.png", (2, 2), title="recall", data=STAND_IN):
        pass
    with drawing(tmp_path / "a.png", (2, 2), data=STAND_IN):
        pass
    plot_curves(HISTORY, tmp_path / "b.png", title="a run", metric="recall@20", data=STAND_IN_FEATURES)
    assert titles == [
        "recall\nSTAND-IN: says nothing about real data",
        "STAND-IN: says nothing about real data",
        "a run\nSTAND-IN FEATURES: says nothing about real data",
    ]


def test_a_picture_is_a_png_whatever_its_name(tmp_path):
    with drawing(tmp_path / "curves.png.17.tmp", (2, 2)) as figure:
        axes = figure.subplots()
    assert (tmp_path / "curves.png.17.tmp").read_bytes()[:4] == b"\x89PNG"
    assert not axes.spines["top"].get_visible() and not axes.spines["right"].get_visible()


def test_a_picture_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), drawing(tmp_path / "a.png", (2, 2)):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
