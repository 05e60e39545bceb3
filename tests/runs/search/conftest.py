"""Searches on the small data set."""

import pytest

pytest.importorskip("optuna", reason="the search needs Optuna: pip install 'mde_fast[search]'")

from small_searches import FLAGS, FOLDER, PRESET, SPACE, report_of

import mde_fast.search.report


@pytest.fixture(autouse=True)
def no_search_picture(request, monkeypatch):
    """As for runs: tests that look at the picture ask for ``picture``."""
    if "picture" not in request.fixturenames:
        monkeypatch.setattr(mde_fast.search.report, "plot_search", lambda report, path: path.write_bytes(b""))


@pytest.fixture
def search_flags(tmp_path) -> list[str]:
    """Flags of a search on the small data set."""
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "preset.yaml").write_text(PRESET)
    return [*FLAGS, "--space", str(tmp_path / "space.yaml"), "--preset", str(tmp_path / "preset.yaml")]


@pytest.fixture
def searching(command, shop, search_flags):
    """searching("--trials", ...) -> Outcome of a search on the small data set; later flags win."""
    return lambda *arguments: command("search", *search_flags, *arguments)


@pytest.fixture
def searched(searching):
    """searched("--trials", ...) -> what trials.json holds after a search that succeeded."""

    def searched(*arguments, output=FOLDER) -> dict:
        outcome = searching("--output", output, *arguments)
        assert outcome.status == 0, outcome.err
        return report_of(output)

    return searched
