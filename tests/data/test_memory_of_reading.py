"""Reading a large table takes memory in proportion to its rows and to the text of its ids."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
import pytest

import mde_fast

ROWS = 1_000_000
# 160 to 215 were measured, about 60 of which every start costs; on ten million rows it is 80 to 105.
BYTES_PER_ROW = 270

# The most that the process itself had in memory: getrusage would count the process that it was forked from, too.
READ = """
import sys
from mde_fast.data import load_dataset

def peak():
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

before = peak()
dataset = load_dataset(sys.argv[1], use_features=False)
print(peak() - before, dataset.num_users, dataset.num_items)
"""


@pytest.fixture(scope="module")
def tables():
    """Interactions of ids that are integers, and of ids that are text, one of which is very long."""
    draw = np.random.default_rng(0)
    users, items = (pa.array(draw.integers(count, size=ROWS)) for count in (100_000, 20_000))
    texts = [
        pyarrow.compute.binary_join_element_wise(start, pyarrow.compute.utf8_lpad(ids.cast(pa.string()), 12, "0"), "")
        for start, ids in (("user", users), ("item", items))
    ]
    longest = pa.array(["x" * 30_000])
    texts[1] = pa.chunked_array([texts[1][1:], longest])
    return {"integers": pa.table({"user": users, "item": items}), "texts": pa.table(texts, ["user", "item"])}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process")
@pytest.mark.parametrize("ids", ["integers", "texts"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_peak(tables, tmp_path, ids, ending):
    path = tmp_path / f"a.{ending}"
    write = pyarrow.csv.write_csv if ending == "csv" else pyarrow.parquet.write_table
    write(tables[ids], path)
    environment = {**os.environ, "PYTHONPATH": str(Path(mde_fast.__file__).parents[1])}
    command = [sys.executable, "-c", READ, path]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    peak, users, items = map(int, result.stdout.split())
    assert users > 99_000 and items >= 20_000
    assert peak < BYTES_PER_ROW * ROWS, f"{peak / ROWS:.0f} bytes a row"
