"""A shop's raw files, and encoders that need no library."""

import json
from pathlib import Path

import numpy as np
import pytest

from mde_fast.prepare import folder
from mde_fast.prepare.encoders import Encoder


@pytest.fixture
def orders(tmp_path, monkeypatch) -> Path:
    """12 customers with 8 of 20 products each, one a day, the first of them all twice; in the current folder."""
    monkeypatch.chdir(tmp_path)
    rows = ["customer_id,sku,stars,date"]
    day = np.datetime64("2024-01-01")
    for customer in range(12):
        for number in range(8):
            product = (customer * 3 + number * number) % 20
            rows += [f"c{customer:02d},p{product:02d},{1 + (customer + number) % 5},{day + len(rows)}"]
    rows += [f"c00,p{(number * number) % 20:02d},5,{day + 500}" for number in range(8)]
    Path("orders.csv").write_text("\n".join(rows) + "\n")
    return Path("orders.csv")


@pytest.fixture
def products(orders) -> Path:
    """A catalogue of 25 products, five of which nobody has bought; every fifth has no description."""
    rows = ["sku,title,description,photo"]
    for number in range(25):
        described = f'"a fine, good   thing, number {number}"' if number % 5 else ""
        rows.append(f"p{number:02d},thing {number},{described},{number}.png")
    Path("products.csv").write_text("\n".join(rows) + "\n")
    return Path("products.csv")


class Words:
    """Encodes by counting letters; says what it was asked for."""

    def __init__(self):
        self.asked: list[str] = []
        self.stop_after: int | None = None

    def __call__(self, model: str, device: str) -> Encoder:
        return Encoder(f"{model}, letters", self.encode)

    def encode(self, contents) -> np.ndarray:
        if self.stop_after is not None and len(self.asked) + len(contents) > self.stop_after:
            raise KeyboardInterrupt
        self.asked += [str(content) for content in contents]
        return np.array([[str(content).count(letter) for letter in "abcdefghi0123456789"] for content in contents])


@pytest.fixture
def letters(monkeypatch) -> Words:
    """In place of both encoders."""
    words = Words()
    monkeypatch.setattr(folder, "text_encoder", words)
    monkeypatch.setattr(folder, "image_encoder", words)
    return words


@pytest.fixture
def prepared():
    """What prepare.json of a folder says."""
    return lambda path: json.loads((Path(path) / "prepare.json").read_text())
