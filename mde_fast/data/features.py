"""Item features of each modality: which files hold them, and what makes a file unusable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ..errors import InputError
from .columns import ColumnNames, find_spelling
from .ids import Cells, id_cells
from .reading import listed, reading, shown
from .typed_tables import ParquetFile, TableInMemory

NEVER_READ = "user_graph_dict.npy"  # MMRec keeps a pickle under this name


def discover(folder: Path, num_items: int, *, any_array: bool) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Modality name -> file, for the ``<modality>_feat.npy`` of a folder: image, text, then the others by name.

    Where there is none and ``any_array``, every other ``.npy`` that is 2-D with exactly ``num_items`` rows is a
    modality named after it.

    Returns:
        The files, and notes that name the arrays left out.

    Raises:
        InputError: there are other arrays, and all would be left out.
    """
    arrays = {path.stem: path for path in sorted(folder.glob("*.npy")) if path.name != NEVER_READ}
    marked = {stem.removesuffix("_feat"): path for stem, path in arrays.items() if stem.endswith("_feat")}
    if marked:
        first = [modality for modality in ("image", "text") if modality in marked]
        return {name: marked[name] for name in [*first, *(name for name in marked if name not in first)]}, ()
    if not (arrays and any_array):
        return {}, ()
    shapes = {stem: _shape(path) for stem, path in arrays.items()}
    # What cannot be read stays, so that reading it says why.
    fitting = {stem for stem, shape in shapes.items() if shape is None or (len(shape) == 2 and shape[0] == num_items)}
    others = [f"{path.name} of shape {shapes[stem]}" for stem, path in arrays.items() if stem not in fitting]
    if not fitting:
        raise InputError(
            f"{folder}: no item features, for no array has a row for each of the {num_items} items: {listed(others)}; "
            "give each item a row, or name files with --features NAME=FILE,..., or move the arrays elsewhere"
        )
    left_out = (
        f"features: left out {listed(others)}, not a row for each of the {num_items} items; to have one taken, name "
        "all features with --features NAME=FILE,..."
    )
    return {stem: path for stem, path in arrays.items() if stem in fitting}, (left_out,) if others else ()


def load_features(
    files: Mapping[str, Path | TableInMemory],
    num_items: int,
    item_ids: np.ndarray,
    columns: ColumnNames,
    *,
    of_table: bool,
    mapped: bool = False,
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Read one matrix per modality.

    Row i of a ``.npy`` belongs to row i of the dataset; rows of a Parquet file or of a table in memory are
    matched by external id. These hold the item ids in the item column and the features in one column of lists or in
    many numeric columns. Floating types stay; integers become float32.

    Args:
        files: modality -> ``.npy`` or ``.parquet`` file, or table in memory.
        num_items: rows that each matrix gets.
        item_ids: (num_items,) external id of each row.
        columns: the item column's name, where the user gave one.
        of_table: rows follow the sorted ids of a table, and are not ids themselves.
        mapped: of a ``.npy``, what is returned is the file, mapped; what is written to it stays in memory.

    Returns:
        Modality -> (num_items, F_m) in the order of ``files``, and notes.

    Raises:
        InputError: a file cannot be read, has too few rows (for a table: or too many, which tell that its rows are
            not the sorted ids), is not 2-D, or is not finite in float32, or is constant.
    """
    features, notes = {}, []
    by_row = {
        modality: source.name
        for modality, source in files.items()
        if isinstance(source, Path) and source.suffix == ".npy"
    }
    if of_table and by_row:
        notes.append(_row_order(list(by_row.values()), item_ids))
    for modality, source in files.items():
        path = source if isinstance(source, Path) else source.path
        if isinstance(source, TableInMemory):
            matrix = _read_typed(source, item_ids, columns)
        elif path.suffix == ".parquet":
            matrix = _read_typed(ParquetFile(path), item_ids, columns)
        elif path.suffix == ".npy":
            matrix = _read_npy(path, mapped)
        else:
            raise InputError(f"{path}: features are .npy or .parquet files; convert it")
        matrix = _floating(matrix, path)
        if matrix.ndim != 2 or matrix.shape[1] == 0:
            raise InputError(f"{path}: shape {matrix.shape} is not (items, features); save a 2-D array")
        if len(matrix) < num_items:
            raise InputError(f"{path}: {len(matrix)} rows for {num_items} items; give each item a row")
        if len(matrix) > num_items and of_table and modality in by_row:
            raise InputError(
                f"{path}: {len(matrix)} rows for the {num_items} items that have interactions; give a row for each of "
                "these in sorted order of the ids, or a Parquet file, whose rows are matched by item id"
            )
        if len(matrix) > num_items:
            extra = len(matrix) - num_items
            notes.append(f"{modality}: {extra} of {len(matrix)} rows in {path.name} belong to no item")
        matrix = np.ascontiguousarray(matrix[:num_items])
        _check_values(matrix, path, item_ids)
        features[modality] = matrix
    return features, tuple(notes)


def _row_order(names: list[str], item_ids: np.ndarray) -> str:
    """The line that shows whose features the rows of these arrays are taken for."""
    rows = sorted({0, min(1, len(item_ids) - 1), len(item_ids) - 1})
    first, *others = [f"row {row} is item {shown(item)}" for row, item in zip(rows, item_ids[rows].tolist())]
    order = ", ".join([f"{first}, the first of the ids in sorted order", *others])
    return f"features: in {listed(names)} {order}; if they are in another order, use Parquet, matched by item id"


def _shape(path: Path) -> tuple[int, ...] | None:
    """Shape of the array in a ``.npy`` file by its header alone, None if that cannot be read."""
    form = np.lib.format
    with reading(path), open(path, "rb") as file:
        try:
            version = form.read_magic(file)
            read_header = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
            return read_header(file)[0]
        except ValueError:
            return None


def _read_npy(path: Path, mapped: bool) -> np.ndarray:
    with reading(path), open(path, "rb") as file:
        start = file.read(6)
    if start[:1] == b"\x80":
        raise InputError(f"{path}: is a pickle, which is never loaded; save it as a plain float array with numpy.save")
    if start != b"\x93NUMPY":
        raise InputError(f"{path}: is not a .npy file; save a plain float array with numpy.save")
    try:
        with reading(path):
            return np.load(path, allow_pickle=False, mmap_mode="c" if mapped else None)
    except (ValueError, EOFError) as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise InputError(
                f"{path}: holds Python objects (a pickle), which are never loaded; save it as a plain float array"
            ) from error
        raise InputError(f"{path}: is truncated or damaged; copy or save it again") from error


def _read_typed(file: ParquetFile | TableInMemory, item_ids: np.ndarray, columns: ColumnNames) -> np.ndarray:
    """Rows of the file in the order of ``item_ids``, and after them the rows of unknown items."""
    key = file.header.index(columns.item) if columns.item in file.header else find_spelling(file.header, "item")
    if key is None:
        raise InputError(f"{file.path}: no item column found among: {listed(file.header)}; name it with --item-column")
    others = {position: kind for position, kind in enumerate(file.types) if position != key}
    lists = [position for position, kind in others.items() if _is_list(kind)]
    numeric = [position for position, kind in others.items() if _is_numeric(kind)]
    if len(lists) > 1 or not (lists or numeric):
        raise InputError(f"{file.path}: needs one column of lists, or numeric columns, beside {file.header[key]!r}")
    table = file.read(dict.fromkeys([key, *(lists or numeric)]))
    rows = _match(id_cells("item", table.pop(key), file.at), item_ids, file)
    if lists:
        return _stack_lists(table[lists[0]], file)[rows]
    for column in table.values():
        if column.null_count:
            raise InputError(f"{file.at(_first(column.is_null()))}: an empty feature; fill it in")
    return np.stack([column.to_numpy() for column in table.values()], axis=1)[rows]


def _match(keys: Cells, item_ids: np.ndarray, file: ParquetFile | TableInMemory) -> np.ndarray:
    """Row of each item in the file, and after them the rows that belong to no item."""
    if (keys.codes < 0).any():
        raise InputError(f"{file.at(int(np.argmin(keys.codes)))}: no item id; fill it in or drop the row")
    # Text on both sides: ids may be integers in one file and strings in the other.
    ids = pa.array(map(str, item_ids.tolist()), pa.string())
    texts = pa.array(_texts(keys, item_ids, file), pa.string()).take(pa.array(keys.codes))
    if len(texts.unique()) < len(texts):
        codes = texts.dictionary_encode().indices.to_numpy()
        _, first = np.unique(codes, return_index=True)
        repeated = int(np.setdiff1d(np.arange(len(codes)), first)[0])
        raise InputError(f"{file.at(repeated)}: item id {shown(keys.value(repeated))} appears twice; keep one row")
    found = pyarrow.compute.index_in(ids, texts)
    if found.null_count:
        example = ids[_first(found.is_null())].as_py()
        matched = len(item_ids) - found.null_count
        raise InputError(
            f"{file.path}: {matched} rows for {len(item_ids)} items, none for {shown(example)}; give each item a row "
            f"(the first is of item {shown(keys.value(0))})"
        )
    rows = found.to_numpy()
    return np.concatenate([rows, np.setdiff1d(np.arange(len(texts)), rows)])


def _texts(keys: Cells, item_ids: np.ndarray, file: ParquetFile | TableInMemory) -> list[str]:
    """Text of each distinct key; 17.0 is that of item 17 where the items are integers."""
    values = keys.values.to_pylist()
    if not (pa.types.is_floating(keys.values.type) and item_ids.dtype.kind in "iu"):
        return list(map(str, values))
    numbers = keys.values.to_numpy(zero_copy_only=False)
    # Beyond this neighbouring integers are the same float.
    row = keys.first(np.abs(numbers) >= 2.0 ** (np.finfo(numbers.dtype).nmant + 1))
    if row is not None:
        item = shown(keys.value(row))
        raise InputError(f"{file.at(row)}: item id {item} is a float too large to be exact; store ids as integers")
    return [str(int(value)) if float(value).is_integer() else str(value) for value in values]


def _stack_lists(column: pa.ChunkedArray, file: ParquetFile | TableInMemory) -> np.ndarray:
    """(rows, F) matrix of a column of equally long lists."""
    lists = column.combine_chunks()
    if not _is_numeric(lists.type.value_type):
        raise InputError(f"{file.path}: lists of {lists.type.value_type} are no features; write numbers")
    lengths = pyarrow.compute.list_value_length(lists).fill_null(-1).to_numpy()
    uneven = (lengths != lengths[0]) | (lengths < 1)
    if uneven.any():
        row = int(np.argmax(uneven))
        raise InputError(f"{file.at(row)}: {max(lengths[row], 0)} features where row 1 has {max(lengths[0], 0)}")
    values = lists.flatten()
    if values.null_count:
        raise InputError(f"{file.at(_first(values.is_null()) // int(lengths[0]))}: an empty feature; fill it in")
    return values.to_numpy(zero_copy_only=False).reshape(len(lists), -1)


def _floating(matrix: np.ndarray, path: Path) -> np.ndarray:
    """``matrix`` in float16, 32 or 64 of this machine's byte order."""
    if matrix.dtype.kind in "iub":
        return matrix.astype(np.float32)
    if matrix.dtype.kind != "f":
        raise InputError(f"{path}: values of type {matrix.dtype} are no features; save a plain float array")
    return matrix.astype(matrix.dtype.newbyteorder("=") if matrix.dtype.itemsize <= 8 else np.float64, copy=False)


def _check_values(matrix: np.ndarray, path: Path, item_ids: np.ndarray) -> None:
    # A block of rows at a time stays in the processor's cache.
    for start in range(0, len(matrix), 64):
        block = matrix[start : start + 64]
        with np.errstate(over="ignore"):
            finite = np.isfinite(block.astype(np.float32) if block.dtype == np.float64 else block)
        if not finite.all():
            row, column = (int(at[0]) for at in np.nonzero(~finite))
            value, row = block[row, column], start + row
            problem = "NaN or infinity; correct it or put 0 there"
            if np.isfinite(value):
                problem = f"{value:.4g}, too large for float32; scale the features down or correct it"
            item = shown(item_ids[row : row + 1].tolist()[0])
            raise InputError(f"{path}: item {item} (item row {row}, from 0) has {problem}")
    # Nearly always decided by the first few rows.
    if len(matrix) > 1 and (matrix[:8] == matrix[0]).all() and (matrix == matrix[0]).all():
        raise InputError(f"{path}: constant, every item has the same features; check how they were extracted")


def _first(flags: pa.Array | pa.ChunkedArray) -> int:
    """Position of the first true flag."""
    return pyarrow.compute.index(flags, True).as_py()


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)


def _is_numeric(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)
