"""``python -m bench.tiny_data FOLDER``: a dataset of a few users under a real one's name, for rehearsing benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

NAME, USERS, ITEMS, PER_USER = "clothing", 120, 60, 10
WIDTHS = {"image": 24, "text": 16}


def write(folder: Path) -> None:
    """An MMRec folder of the name in ``folder``."""
    rng = np.random.default_rng(0)
    place = folder / NAME
    place.mkdir(parents=True, exist_ok=True)
    lines = ["userID\titemID\tx_label"]
    for user in range(USERS):
        for number, item in enumerate(rng.choice(ITEMS, PER_USER, replace=False)):
            lines.append(f"{user}\t{item}\t{max(0, number - PER_USER + 3)}")
    (place / f"{NAME}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, width in WIDTHS.items():
        np.save(place / f"{name}_feat.npy", rng.standard_normal((ITEMS, width)).astype(np.float32))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
