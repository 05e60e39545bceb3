"""What MMRec's code of 2023 to 2025 needs of NumPy, SciPy and PyTorch as they are now, applied while it runs."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from torch import Tensor, nn

UNUSED = (
    "lmdb",
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "PIL",
    "sklearn.cluster",
)
UNUSED += ("sklearn", "torch_scatter")  # imported, and not called by the models that are compared
MOST_NEIGHBOURS = 200  # that MMRec keeps of a user


@contextlib.contextmanager
def importable(source: Path) -> Iterator[None]:
    """Inside, modules of a checkout can be imported, and old calls of theirs mean what they meant."""
    for name in UNUSED:
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = mock.MagicMock(__spec__=importlib.machinery.ModuleSpec(name, None), __path__=[])
    repairs = (
        mock.patch.object(torch.sparse, "FloatTensor", _sparse_tensor),
        mock.patch.object(torch.Tensor, "cuda", lambda tensor, *_: tensor),
        mock.patch.object(nn.Module, "__setattr__", _set_attribute(nn.Module.__setattr__)),
        mock.patch.object(scipy.sparse.dok_matrix, "_update", _dok_update, create=True),
        mock.patch.object(np, "float", float, create=True),
        mock.patch.object(np, "int", int, create=True),
        mock.patch.object(sys, "path", [str(source / "src"), *sys.path]),
    )
    with contextlib.ExitStack() as stack:
        for repair in repairs:
            stack.enter_context(repair)
        yield


def _sparse_tensor(indices: Tensor, values: Tensor, size: tuple[int, ...]) -> Tensor:
    """Whole numbers too, which ``torch.sparse.FloatTensor`` took once."""
    return torch.sparse_coo_tensor(indices, values, size, check_invariants=False)


def _set_attribute(original):
    """A tensor in the place of a parameter, as after ``.to("cuda")``: DualGNN and DRAGON stop there on a CPU."""

    def set_attribute(module: nn.Module, name: str, value) -> None:
        parameters = module.__dict__.get("_parameters", {})
        if name in parameters and isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            del parameters[name]
        original(module, name, value)

    return set_attribute


def _dok_update(matrix, entries: dict[tuple[int, int], float]) -> None:
    """A private method of SciPy's that is gone."""
    rows, columns = zip(*entries)
    summed = scipy.sparse.coo_matrix((list(entries.values()), (rows, columns)), shape=matrix.shape).todok()
    for place, value in summed.items():
        matrix[place] = value


def write_user_graph(folder: Path) -> None:
    """user_graph_dict.npy, which DualGNN and DRAGON read: each user's neighbours by the number of items in common."""
    if (folder / "user_graph_dict.npy").exists():
        return
    table = pd.read_csv(folder / f"{folder.name}.inter", sep="\t")
    train = table[table["x_label"] == 0]
    users, items = train["userID"].to_numpy(), train["itemID"].to_numpy()
    ones = scipy.sparse.csr_matrix((np.ones(len(users), np.float32), (users, items)))
    common = (ones @ ones.T).tocsr()
    common.setdiag(0)
    common.eliminate_zeros()
    neighbours = {}
    for user in range(common.shape[0]):
        row = slice(common.indptr[user], common.indptr[user + 1])
        order = np.argsort(-common.data[row], kind="stable")[:MOST_NEIGHBOURS]
        neighbours[user] = [common.indices[row][order].tolist(), common.data[row][order].tolist()]
    np.save(folder / "user_graph_dict.npy", np.array(neighbours, dtype=object), allow_pickle=True)
