"""Imports point down: the floors are those of docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "mde_fast"


def floors() -> dict[str, tuple[int, int]]:
    """Room -> (floor, place on it), the ground being 0."""
    block = (REPOSITORY / "docs/architecture.md").read_text().split("```")[1].strip("\n")
    lines = [line.partition(":")[2].split() for line in reversed(block.splitlines())]
    return {room: (floor, place) for floor, names in enumerate(lines) for place, room in enumerate(names)}


def rooms() -> dict[str, list[Path]]:
    """Room -> its files."""
    found = {"kernels": sorted((PACKAGE / "kernels").rglob("*.py"))}  # a link, which rglob does not follow by itself
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if name != "__init__":
            found.setdefault(name, []).append(path)
    return found


def imported_rooms(path: Path) -> set[str]:
    """The rooms of this package that a file imports from, also late, inside of functions."""
    package = ("mde_fast", *path.relative_to(PACKAGE).parts[:-1])
    targets = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module or "").split(".")) if node.module else base
            names = [(*module, alias.name) for alias in node.names]
            targets |= {name[1] for name in names if name[0] == "mde_fast" and len(name) > 1}
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            targets |= {name[1] for name in names if name[0] == "mde_fast" and len(name) > 1}
    return {target for target in targets if (PACKAGE / target).is_dir() or (PACKAGE / f"{target}.py").is_file()}


def test_every_room_has_its_floor():
    assert set(floors()) == set(rooms())


@pytest.mark.parametrize("room", rooms())
def test_imports_point_down(room):
    floor, place = floors()[room]
    for path in rooms()[room]:
        for target in imported_rooms(path) - {room}:
            below, before = floors()[target]
            assert below < floor or (below == floor and before < place), (
                f"{path}: imports from {target}, which is above"
            )
