"""Texts that were compressed are read as what they were."""

import bz2
import gzip
import os

import numpy as np
import pyarrow as pa
import pytest

from mde_fast.data import load_dataset

CSV = "user,item,split\na,x,0\na,b,1\na,0012,2\n"
TEXTS = {"csv": CSV, "tsv": CSV.replace(",", "\t"), "inter": "userID\titemID\tx_label\n0\t0\t0\n0\t1\t1\n0\t2\t2\n"}
COMPRESSIONS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": lambda content: pa.Codec("zstd").compress(content, asbytes=True),
}


def load(place):
    return load_dataset(place, use_features=False)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("form", TEXTS)
def test_forms(write, form, compression):
    compress = COMPRESSIONS[compression]
    expected = load(write({f"plain/shop.{form}": TEXTS[form]}) / f"shop.{form}")
    for start in ("", "\ufeff"):
        folder = write({f"shop/shop.{form}.{compression}": compress((start + TEXTS[form]).encode())})
        for place in (folder, folder / f"shop.{form}.{compression}"):
            dataset = load(place)
            assert dataset.name == "shop" and dataset.fingerprint == expected.fingerprint


def test_errors_name_the_row(write, refused):
    bad = CSV.replace("a,b,1", ",b,1")
    for name, compress in COMPRESSIONS.items():
        with refused(f"a.csv.{name}: row 3: no user id"):
            load(write({f"{name}/a.csv.{name}": compress(bad.encode())}))
        with refused(f"a.csv.{name}: row 3", "UTF-8"):
            load(write({f"{name}/a.csv.{name}": compress(bad.encode().replace(b"b", b"\xff"))}))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_damaged_files(write, refused, compression):
    content = COMPRESSIONS[compression](os.urandom(3000).hex().encode())
    for damaged in (content[:1000], CSV.encode(), b"x"):
        with refused(f"a.csv.{compression}: cannot be read"):
            load(write({f"shop/a.csv.{compression}": damaged}))
    with refused(f"a.csv.{compression}"):
        load(write({f"shop/a.csv.{compression}": b""}))
    with refused("no interactions"):
        load(write({f"folder/a.csv.{compression}/x": ""}).parent)


def test_a_compressed_file_under_another_name(write, refused):
    for start, what in ((gzip.compress(b"x"), "gzip"), (COMPRESSIONS["zst"](b"x"), "Zstandard"), (b"PK\3\4", "Excel")):
        with refused("a.csv: is", what):
            load(write({"shop/a.csv": start + b"\n"}))
    with refused("x.parquet.gz: form not known", ".gz"):
        load(write({"shop/x.parquet.gz": b""}) / "x.parquet.gz")


def test_plain_files_come_first(write, refused):
    old = gzip.compress(CSV.replace("a,", "old,").encode())
    folder = write({"shop/a.csv": CSV, "shop/a.csv.gz": old, "shop/shop.inter.gz": gzip.compress(b"")})
    assert load(folder).user_ids.tolist() == ["a"]
    with refused("several tables", "a.csv.gz, b.csv.gz"):
        load(write({"two/a.csv.gz": old, "two/b.csv.gz": old}))
    assert load(write({"two/interactions.csv.gz": old})).user_ids.tolist() == ["old"]


def test_features_beside_them(write):
    features = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    folder = write({"shop/shop.inter.gz": gzip.compress(TEXTS["inter"].encode()), "shop/extra.npy": features})
    for place in (folder, folder / "shop.inter.gz"):
        assert (load_dataset(place).features["extra"] == features).all()
