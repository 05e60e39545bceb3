"""MMRec's code, run where it lies: what it needs of libraries as they are now, and the files that it reads.

Nothing of it is copied: its modules are imported from a checkout (``--mmrec DIR``), and repaired while they run.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn

from mde_fast.data.dataset import InteractionDataset

USER_NEIGHBOURS = 200  # that MMRec's list of users with items in common keeps
# Class -> parameters that its code assigns tensors to, which stops on a CPU; on a GPU they are plain tensors.
PLAIN_ON_A_GPU = {"DualGNN": ("result_embed",), "DRAGON": ("result_embed",)}


def write_features(dataset: InteractionDataset, folder: Path) -> None:
    """Features, and users by the number of items in common, equal numbers by ascending user."""
    folder.mkdir()
    for name, matrix in dataset.features.items():
        np.save(folder / f"{name}_feat.npy", matrix)
    train = dataset.train_matrix
    neighbours = {}
    for user in range(dataset.num_users):
        common = (train[user] @ train.T).tocsr()
        common.sort_indices()
        others, counts = common.indices[common.indices != user], common.data[common.indices != user]
        nearest = np.argsort(-counts, kind="stable")[:USER_NEIGHBOURS]
        neighbours[user] = [others[nearest].tolist(), counts[nearest].tolist()]
    np.save(folder / "user_graph_dict.npy", np.array(neighbours, dtype=object), allow_pickle=True)


def write_interactions(dataset: InteractionDataset, file: Path) -> None:
    """User, item and the number of the split, as in MMRec's data sets."""
    with file.open("w", encoding="utf-8") as out:
        out.write("userID\titemID\tx_label\n")
        for number, split in enumerate((dataset.train, dataset.valid, dataset.test)):
            out.writelines(f"{user}\t{item}\t{number}\n" for user, item in zip(split.users, split.items))


def attribute(model: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        model = getattr(model, name)
    return model


def make_plain(model: Any, dotted: str) -> None:
    """Turn a parameter into a tensor that the optimiser does not see and that can be assigned to."""
    path, _, name = dotted.rpartition(".")
    owner = attribute(model, path) if path else model
    setattr(owner, name, owner._parameters.pop(name).detach().clone())


@contextlib.contextmanager
def importable(source: Path) -> Iterator[None]:
    """MMRec's modules can be imported, and old calls of theirs mean what they meant."""
    folder = source / "src" if (source / "src").is_dir() else source
    _stand_in("torch_geometric", {})
    _stand_in("torch_geometric.nn", {})
    _stand_in("torch_geometric.nn.conv", {"MessagePassing": MessagePassing})
    functions = {
        "remove_self_loops": _remove_self_loops,
        "add_self_loops": _add_self_loops,
        "degree": _degree,
        "softmax": _segment_softmax,
        "dropout_adj": _dropout_adj,
    }
    _stand_in("torch_geometric.utils", functions)
    _stand_in("torch_geometric.nn.inits", {"uniform": lambda size, tensor: tensor.data.uniform_(-1, 1)})
    _stand_in("torch_scatter", {"scatter": None, "scatter_add": _scatter_add})
    for name in ("lmdb", "PIL", "torchvision", "torchvision.transforms", "sklearn"):
        _stand_in(name, {})
    _stand_in("PIL.Image", {})
    _stand_in("torchvision.transforms.functional", {"resize": None, "pad": None})
    _stand_in("sklearn.cluster", {"KMeans": None})
    repairs = [
        mock.patch.object(torch.sparse, "FloatTensor", _sparse_tensor),
        mock.patch.object(np, "float", float, create=True),
        mock.patch.object(torch.Tensor, "cuda", lambda tensor, *_: tensor),
        mock.patch.object(scipy.sparse.dok_matrix, "_update", _dok_update, create=True),
        mock.patch.object(sys, "path", [str(folder), *sys.path]),
    ]
    with contextlib.ExitStack() as stack:
        for repair in repairs:
            stack.enter_context(repair)
        yield


def _stand_in(name: str, entries: Mapping[str, Any]) -> None:
    """A module of that name, unless there is one."""
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
        return
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)  # torch looks for it in whatever is imported
    vars(module).update(entries)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def _sparse_tensor(indices: Tensor, values: Tensor, size: tuple[int, ...]) -> Tensor:
    """Whole numbers too, which ``torch.sparse.FloatTensor`` took once."""
    return torch.sparse_coo_tensor(indices, values, size, check_invariants=False)


def _dok_update(matrix, entries: Mapping[tuple[int, int], float]) -> None:
    for place, value in entries.items():
        matrix[place] = value


class MessagePassing(nn.Module):
    """As in PyTorch Geometric, as far as MMRec uses it: ``edge_index`` is (source, target), ``x_j`` the source's."""

    def __init__(self, aggr: str = "add", **_: Any):
        super().__init__()
        self.aggr = aggr

    def propagate(self, edge_index: Tensor, size: tuple[int, int] | None = None, **inputs: Any) -> Tensor:
        source, target = edge_index
        x = inputs["x"]
        count = x.shape[0]
        known = {
            **inputs,
            "x_j": x[source],
            "x_i": x[target],
            "edge_index": edge_index,
            "edge_index_i": target,
            "edge_index_j": source,
            "size": size or (count, count),
            "size_i": count,
            "size_j": count,
        }
        wanted = self.message.__code__.co_varnames[1 : self.message.__code__.co_argcount]
        messages = self.message(**{name: known[name] for name in wanted})
        total = messages.new_zeros(count, *messages.shape[1:]).index_add(0, target, messages)
        if self.aggr == "mean":
            total = total / _degree(target, count, total.dtype).clamp_min(1)[:, None]
        return self.update(total)

    def message(self, x_j: Tensor) -> Tensor:
        return x_j

    def update(self, aggr_out: Tensor) -> Tensor:
        return aggr_out


def _remove_self_loops(edge_index: Tensor, edge_attr: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    kept = edge_index[0] != edge_index[1]
    return edge_index[:, kept], None if edge_attr is None else edge_attr[kept]


def _add_self_loops(edge_index: Tensor, num_nodes: int) -> tuple[Tensor, None]:
    loops = torch.arange(num_nodes).expand(2, -1)
    return torch.cat([edge_index, loops], dim=1), None


def _dropout_adj(edge_index: Tensor, p: float) -> tuple[Tensor, None]:
    assert p == 0, "edges are dropped by chance: patch this to drop the same on both sides"
    return edge_index, None


def _scatter_add(values: Tensor, index: Tensor, dim: int, dim_size: int) -> Tensor:
    assert dim == 0
    return values.new_zeros(dim_size).index_add(0, index, values)


def _degree(index: Tensor, num_nodes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.bincount(index, minlength=num_nodes).to(dtype)


def _segment_softmax(values: Tensor, index: Tensor, num_nodes: int) -> Tensor:
    """Over the values that have the same index."""
    largest = values.new_full((num_nodes,), -torch.inf).scatter_reduce(0, index, values.detach(), "amax")
    exponent = (values - largest[index]).exp()
    return exponent / (exponent.new_zeros(num_nodes).index_add(0, index, exponent)[index] + 1e-16)
