"""RecBole's own SGL, which draws two views of its graph whenever training is switched on.

RecBole 1.2.1's ``Config`` needs NumPy 1, and its LightGCN a method of SciPy's ``dok_matrix`` that is gone, so neither
can be made here. SGL can, given what it asks of a configuration and a data set; ``other_models`` has the LightGCN's
manner.
"""

import copy
from collections import defaultdict

import numpy as np
import pytest
import torch
from other_models import dataset

from mde_fast import accelerate

sgl = pytest.importorskip(
    "recbole.model.general_recommender.sgl",
    reason="RecBole is not installed: pip install --no-deps recbole; pip install pandas scikit-learn tensorboard "
    "texttable colorama",
)


class RecBoleData:
    """The part of RecBole's Dataset that SGL reads."""

    uid_field, iid_field = "user", "item"

    def __init__(self, data):
        self.num = {"user": data.num_users, "item": data.num_items}.__getitem__
        self.inter_feat = {
            "user": torch.from_numpy(data.train.users),
            "item": torch.from_numpy(data.train.items),
        }


def _make(kind: str, data):
    config = defaultdict(lambda: None)
    config |= {"USER_ID_FIELD": "user", "ITEM_ID_FIELD": "item", "NEG_PREFIX": "neg_", "device": "cpu"}
    config |= {"embedding_size": 8, "n_layers": 2, "type": kind, "drop_ratio": 0.2}
    config |= {"ssl_tau": 0.5, "reg_weight": 1e-4, "ssl_weight": 0.1}
    torch.manual_seed(0)
    return sgl.SGL(config, RecBoleData(data))


def _train(model, data) -> tuple[list, list]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    rng = np.random.default_rng(0)
    np.random.seed(0)  # SGL draws its views by the global generator
    losses, gradients = [], []
    for _ in range(2):
        model.train()
        for _ in range(3):
            chosen = rng.integers(len(data.train), size=32)
            batch = {
                "user": torch.from_numpy(data.train.users[chosen]),
                "item": torch.from_numpy(data.train.items[chosen]),
                "neg_item": torch.from_numpy(rng.integers(data.num_items, size=32)),
            }
            optimizer.zero_grad()
            loss = model.calculate_loss(batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    return losses, gradients


@pytest.mark.parametrize("kind", ("ED", "ND", "RW"))
def test_sgl(kind):
    """Losses and gradients of two epochs, each with views of its own."""
    data = dataset()
    plain = _make(kind, data)
    fast = copy.deepcopy(plain)
    acceleration = accelerate(fast, min_edges=0)
    (expected, expected_gradients), (losses, gradients) = _train(plain, data), _train(fast, data)
    assert losses == pytest.approx(expected, rel=1e-5)
    for ours, theirs in zip(gradients, expected_gradients):
        for gradient, truth in zip(ours, theirs):
            assert (gradient - truth).norm() < 1e-4 * truth.norm()
    report = acceleration.report()
    names = {replaced.name for replaced in report.replaced}
    views = {"sub_graph1", "sub_graph2"}
    if kind == "RW":
        views = {f"{view}[{layer}]" for view in views for layer in (0, 1)}
    assert names == {"train_graph"} | views
    assert sum(acceleration._record.products.values()) == 2 * 3 * 2 * 3 and not report.left_to_torch
    acceleration.undo()
    assert type(fast) is sgl.SGL and type(fast.train_graph) is torch.Tensor
