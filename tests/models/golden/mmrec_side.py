"""A model of MMRec's and ours, side by side: the same data, parameters and batch, so the same loss and gradients.

MMRec's code is run where it lies (``--mmrec DIR``), on stand-ins for its Config and its data loader, and only numbers
are kept: ``<model>.json`` beside this file has the loss, the norm of every parameter's gradient and, where asked for,
of the scores. Tests rebuild the inputs from the seeds and need no MMRec.

Parameters: one ``numpy.random.default_rng(parameter_seed)`` fills all of MMRec's, in the order of its own
``named_parameters()`` and then of ``extra``, each with ``parameter_scale * standard_normal(shape)`` as float32. Names
and shapes are in the file, in that order.

A comparison is a file ``make_<model>.py`` of this folder::

    COMPARISON = Comparison(
        theirs="VBPR",
        ours="vbpr",
        cases=(Case(theirs={"embedding_size": 8, "reg_weight": 0.1}, ours={"embedding_size": 8, "reg_weight": 0.1}),),
        **renamed({"user_table": "u_embedding"}),
    )

    if __name__ == "__main__":
        COMPARISON.main()

whose cases ``test_golden.py`` checks.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.machinery
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

FOLDER = Path(__file__).parent
if str(FOLDER.parents[1]) not in sys.path:
    sys.path.insert(0, str(FOLDER.parents[1]))  # tests, where tiny.py is

from mmrec_code import PLAIN_ON_A_GPU, attribute, importable, make_plain, write_features  # noqa: E402
from tiny import random_batch, tiny_dataset  # noqa: E402

from mde_fast.data.dataset import InteractionDataset  # noqa: E402
from mde_fast.graphs import GraphCache, GraphStore  # noqa: E402
from mde_fast.models import Batch, Inputs, Model, find_model  # noqa: E402
from mde_fast.nn.feature_rank import FeatureRank  # noqa: E402

RELATIVE, ABSOLUTE = 1e-5, 1e-7  # float32 on both sides; the second is for gradients that cancel out

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """One setting on both sides.

    Attributes:
        theirs: keys of MMRec's configuration -> values; what is not named is None, as in MMRec.
        ours: options of our model.
        num_users, num_items, modalities, density, data_seed: of :func:`tiny.tiny_dataset`.
        batch_size, batch_seed: of :func:`tiny.random_batch`.
        parameter_seed, parameter_scale: see above.
        scores: compare the scores of all users and items too (``full_sort_predict``).
    """

    theirs: dict[str, Any]
    ours: dict[str, Any]
    num_users: int = 30
    num_items: int = 20
    modalities: tuple[str, ...] = ("image", "text")
    density: float = 0.3
    data_seed: int = 0
    batch_size: int = 40
    batch_seed: int = 0
    parameter_seed: int = 1
    parameter_scale: float = 0.3
    scores: bool = True

    def dataset(self) -> InteractionDataset:
        return tiny_dataset(
            self.data_seed,
            num_users=self.num_users,
            num_items=self.num_items,
            modalities=tuple(self.modalities),
            density=self.density,
        )

    def batch(self) -> Batch:
        return random_batch(self.dataset(), self.batch_size, self.batch_seed)

    def parameters(self, shapes: Mapping[str, list[int]]) -> Tensors:
        """MMRec's name -> values, from its names and shapes in their order."""
        rng = np.random.default_rng(self.parameter_seed)
        return {
            name: torch.from_numpy((self.parameter_scale * rng.standard_normal(shape)).astype(np.float32))
            for name, shape in shapes.items()
        }


@dataclass
class Result:
    """What a side computes.

    Attributes:
        loss: of the batch.
        gradients: MMRec's name of a parameter -> gradient; None where the loss does not depend on it.
        scores: (U, I), or None where they are not compared.
        shapes: MMRec's name -> shape, in the order in which they are filled.
    """

    loss: Tensor
    gradients: dict[str, Tensor | None]
    scores: Tensor | None
    shapes: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """A class of MMRec's beside a model of ours.

    Attributes:
        theirs: name of the class; it is in ``src/models/<name in lower case>.py``.
        ours: name of our model.
        cases: settings to compare.
        ours_from: MMRec's parameters -> values of ours, all of them, by name.
        theirs_from: the reverse, for gradients; a parameter whose gradient MMRec does not have may be left out.
        prepare_theirs, prepare_ours: called with (model, case) before the loss: the graph of an epoch, masks of a
            dropout, whatever chance decides and both must have alike. Default: ``begin_epoch`` is not called.
        extra: dotted names of tensors of MMRec's model that are no parameters and yet need values and gradients.
        score_theirs: (model, case) -> (U, I), where MMRec's own would be of parameters before the last step.
    """

    theirs: str
    ours: str
    cases: tuple[Case, ...]
    ours_from: Callable[[Tensors], Tensors]
    theirs_from: Callable[[Tensors], Tensors]
    prepare_theirs: Callable[[Any, Case], None] | None = None
    prepare_ours: Callable[[Any, Case], None] | None = None
    extra: tuple[str, ...] = ()
    score_theirs: Callable[[Any, Case], Tensor] | None = None

    @property
    def file(self) -> Path:
        return FOLDER / f"{self.ours}.json"

    def main(self) -> None:
        """``make_<model>.py --mmrec DIR``: run both, compare all of it, keep the numbers."""
        parser = argparse.ArgumentParser(description=f"Compare {self.ours} with MMRec's {self.theirs}.")
        parser.add_argument("--mmrec", type=Path, required=True, metavar="DIR", help="checkout of MMRec")
        source = parser.parse_args().mmrec
        torch.set_num_threads(1)
        kept = []
        for case in self.cases:
            published = self.run_theirs(case, source)
            own = self.run_ours(case, published.shapes)
            _compare(own, published)
            kept.append(
                {
                    "case": asdict(case),
                    "shapes": published.shapes,
                    "loss": float(published.loss),
                    "gradient_norms": {name: _norm(value) for name, value in published.gradients.items()},
                    "score_norm": _norm(published.scores),
                }
            )
            print(f"{self.ours} {case.ours}: loss {float(own.loss):.7f}, MMRec {float(published.loss):.7f}")
        self.file.write_text(json.dumps({"class": self.theirs, "cases": kept}, indent=1) + "\n")

    def check(self, number: int, rank: FeatureRank | None = None) -> None:
        """Our side of a case against the numbers that are kept."""
        kept = json.loads(self.file.read_text())["cases"][number]
        case = self.cases[number]
        assert kept["case"] == json.loads(json.dumps(asdict(case))), "the case has changed: run the script again"
        own = self.run_ours(case, kept["shapes"], rank)
        _close(float(own.loss), kept["loss"], "loss")
        for name, norm in kept["gradient_norms"].items():
            if norm is not None:
                _close(_norm(own.gradients[name]), norm, name)
        if kept["score_norm"] is not None:
            _close(_norm(own.scores), kept["score_norm"], "scores")

    def run_ours(self, case: Case, shapes: Mapping[str, list[int]], rank: FeatureRank | None = None) -> Result:
        """Our loss and gradients, by MMRec's names."""
        dataset = case.dataset()
        kind = find_model(self.ours)
        model = kind.build(
            kind.Options(**case.ours),
            Inputs(
                num_users=dataset.num_users,
                num_items=dataset.num_items,
                features={name: torch.from_numpy(matrix) for name, matrix in dataset.features.items()},
                graphs=GraphStore(dataset.train_matrix, dataset.features, GraphCache(None)),
                precision="fp32",
                generator=torch.Generator().manual_seed(0),
                rank=rank or FeatureRank(),
            ),
        )
        _fill_ours(model, self.ours_from(case.parameters(shapes)))
        if self.prepare_ours:
            self.prepare_ours(model, case)
        loss = model.loss_parts(case.batch()).sum()
        loss.backward()
        own = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
        users, items = model.embeddings()
        return Result(loss.detach(), dict(self.theirs_from(own)), users @ items.T if case.scores else None)

    def run_theirs(self, case: Case, source: Path) -> Result:
        """MMRec's loss and gradients, from its own code."""
        dataset = case.dataset()
        with tempfile.TemporaryDirectory() as folder, importable(source), contextlib.redirect_stdout(sys.stderr):
            torch.manual_seed(0)  # whatever it draws for itself is overwritten below, or up to prepare_theirs
            np.random.seed(0)
            write_features(dataset, Path(folder) / "tiny")
            config = Config(case.theirs, data_path=f"{folder}/", dataset="tiny", train_batch_size=case.batch_size)
            kind = getattr(importlib.import_module(f"models.{self.theirs.lower()}"), self.theirs)
            model = kind(config, TrainLoader(dataset))
            for name in PLAIN_ON_A_GPU.get(self.theirs, ()):
                make_plain(model, name)
            tensors = {**dict(model.named_parameters()), **{name: attribute(model, name) for name in self.extra}}
            shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
            with torch.no_grad():
                for name, values in case.parameters(shapes).items():
                    tensors[name].copy_(values)
            for name in self.extra:
                tensors[name].requires_grad_()
            if self.prepare_theirs:
                self.prepare_theirs(model, case)
            batch = case.batch()
            loss = model.calculate_loss(torch.stack([batch.users, batch.positives, batch.negatives])).sum()
            loss.backward()
            gradients = {name: tensor.grad for name, tensor in tensors.items()}
            scores = None
            if case.scores:
                with torch.no_grad():
                    everyone = [torch.arange(dataset.num_users)]
                    scores = self.score_theirs(model, case) if self.score_theirs else model.full_sort_predict(everyone)
        return Result(loss.detach(), gradients, scores, shapes)


def renamed(names: Mapping[str, str | tuple[str, str]]) -> dict[str, Callable[[Tensors], Tensors]]:
    """``ours_from`` and ``theirs_from`` where the tensors are the same under other names.

    Args:
        names: ours -> MMRec's, or a pair of MMRec's that ours has below each other: users first.
    """

    def ours_from(theirs: Tensors) -> Tensors:
        return {
            own: torch.cat([theirs[part] for part in name]) if isinstance(name, tuple) else theirs[name]
            for own, name in names.items()
        }

    def theirs_from(ours: Tensors) -> Tensors:
        values = {}
        for own, name in names.items():
            if isinstance(name, tuple):
                values.update(zip(name, ours[own].tensor_split([Case.num_users])))
            else:
                values[name] = ours[own]
        return values

    return {"ours_from": ours_from, "theirs_from": theirs_from}


def _fill_ours(model: Model, values: Tensors) -> None:
    parameters = dict(model.named_parameters())
    assert parameters.keys() == values.keys(), f"ours_from gives {sorted(values)}, the model has {sorted(parameters)}"
    with torch.no_grad():
        for name, parameter in parameters.items():
            assert parameter.shape == values[name].shape, f"{name}: {parameter.shape}, given {values[name].shape}"
            parameter.copy_(values[name])


def _norm(tensor: Tensor | None) -> float | None:
    return None if tensor is None else float(tensor.double().norm())


def _close(own: float | None, published: float, what: str) -> None:
    assert own is not None, f"{what}: MMRec has {published}, ours nothing"
    assert abs(own - published) <= ABSOLUTE + RELATIVE * abs(published), f"{what}: {own}, MMRec has {published}"


def _compare(own: Result, published: Result) -> None:
    """All numbers, at the time of making: every entry within RELATIVE of its tensor's largest."""
    pairs = {"loss": (own.loss, published.loss), "scores": (own.scores, published.scores)}
    for name, gradient in published.gradients.items():
        if gradient is not None:
            assert name in own.gradients, f"{name}: MMRec has a gradient, theirs_from gives none"
            pairs[name] = own.gradients[name], gradient
        elif own.gradients.get(name) is not None:
            assert not own.gradients[name].any(), f"{name}: a gradient that MMRec does not have"
    for name, (ours, theirs) in pairs.items():
        if ours is None or theirs is None:
            continue
        assert ours.shape == theirs.shape, f"{name}: {tuple(ours.shape)}, MMRec's {tuple(theirs.shape)}"
        most = float((ours - theirs).abs().max())
        assert most <= ABSOLUTE + RELATIVE * float(theirs.abs().max()), f"{name}: differs by {most}"


# ---------------------------------------------------------------------------------------------------------------------
# What MMRec's classes are given


class Config:
    """Keys and values, None for a key that nobody set."""

    def __init__(self, values: Mapping[str, Any], **others: Any):
        self.values = {
            "USER_ID_FIELD": "userID",
            "ITEM_ID_FIELD": "itemID",
            "NEG_PREFIX": "neg__",
            "device": torch.device("cpu"),
            "use_gpu": False,
            "end2end": False,
            "is_multimodal_model": True,
            "vision_feature_file": "image_feat.npy",
            "text_feature_file": "text_feat.npy",
            "user_graph_dict_file": "user_graph_dict.npy",
            **others,
            **values,
        }

    def __getitem__(self, key: str) -> Any:
        return self.values.get(key)

    def __contains__(self, key: str) -> bool:
        return key in self.values


class TrainLoader:
    """What models ask of MMRec's training data."""

    def __init__(self, dataset: InteractionDataset):
        train = dataset.train_matrix.tocoo()
        self.matrix = scipy.sparse.coo_matrix((np.ones(train.nnz), (train.row, train.col)), shape=train.shape)
        self.dataset = self
        self.inter_num, (self.user_num, self.item_num) = train.nnz, train.shape

    def get_user_num(self) -> int:
        return self.user_num

    def get_item_num(self) -> int:
        return self.item_num

    def inter_matrix(self, form: str = "coo", value_field: str | None = None):
        return self.matrix.asformat(form)
