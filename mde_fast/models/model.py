"""What every model promises, so that training, ranking, search and reports need to know nothing else of it.

A model is final: it derives from :class:`Model` and from nothing that is a model itself. It is one file in this folder,
and the folder's listing is the registry (:mod:`mde_fast.models`).
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from ..graphs.store import GraphStore
from ..nn.factors import Factors
from ..nn.feature_rank import FeatureRank
from ..nn.towers import feature_towers
from ..options import Options
from ..world import ALONE, World


@dataclass(frozen=True)
class Batch:
    """B triples of an epoch, and chance.

    Attributes:
        users, positives, negatives: (B,) int64 row numbers.
        bits: (B,) int64 of 0 or more, new for each triple in each epoch: the only chance that a step may use. A seed
            for a whole step is ``bits[0]``. They are drawn before the epoch, so that a resumed run meets the same.
    """

    users: Tensor
    positives: Tensor
    negatives: Tensor
    bits: Tensor


@dataclass(frozen=True)
class Inputs:
    """What a model is made of, beside its options.

    Attributes:
        num_users, num_items: U and I.
        features: modality -> (I, F_m) float32; empty for a model that needs none.
        graphs: of the train interactions and the features, made when asked for.
        precision: of the towers' products, one of :data:`mde_fast.nn.towers.FEATURE_DTYPES`.
        generator: on the CPU; every initial parameter is drawn from it, and from nothing else.
        rank: makes factors of features that towers do not train.
        world: the processes that train the model. Initial parameters are drawn as one process would, then cut up.
    """

    num_users: int
    num_items: int
    features: Mapping[str, Tensor]
    graphs: GraphStore
    precision: str
    generator: torch.Generator
    rank: FeatureRank = field(default_factory=FeatureRank)
    world: World = ALONE

    def frozen_features(self) -> dict[str, Tensor | Factors]:
        """Modality -> features (I, F_m) for towers that do not train them, as factors where ``rank`` makes some."""
        return {name: self.rank(name, features) for name, features in self.features.items()}

    def towers(self, dim: int, *, trained: bool, initial: str = "xavier") -> nn.ModuleList:
        """One layer (F_m, dim) for each modality, on features that are ``trained`` too or frozen."""
        return feature_towers(
            self.features if trained else self.frozen_features(),
            dim,
            initial=initial,
            precision=self.precision,
            generator=self.generator,
            trained=trained,
            world=self.world,
        )


O = TypeVar("O", bound=Options)  # noqa: E741 - its options


class Model(nn.Module, Generic[O], ABC):
    """A recommender: parameters, a loss on triples, embeddings to rank by.

    Attributes:
        title: name, paper and year, for people.
        Options: the class of its options.
        min_modalities: how many modalities it needs; 0 means that it does not look at item content.
        node_tables: names of the parameters with a row for each user or item that can be stored in bfloat16; none where
            a model has no way to.
        learns: whether there is anything to train. What learns nothing is ready when it is built: it has no parameters
            and no loss, a run of it is one evaluation, and chance, seed and learning rate have no say in it.
        by_columns: whether each column of its tables can be in another process: what it makes of rows are sums over
            columns, for which it asks ``inputs.world``.
        part_names: names of what :meth:`loss_parts` returns, in its order; none where nothing is learned.
    """

    title: ClassVar[str]
    Options: ClassVar[type[Options]]
    min_modalities: ClassVar[int] = 0
    node_tables: ClassVar[tuple[str, ...]] = ()
    learns: ClassVar[bool] = True
    by_columns: ClassVar[bool] = False
    part_names: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where its parameters are, or what else it keeps."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    def store_tables(self, dtype: torch.dtype) -> None:
        """Store the ``node_tables`` in a type, and so their gradients and all that follows from them."""
        for name in self.node_tables:
            owner, _, last = name.rpartition(".")
            module = self.get_submodule(owner)
            setattr(module, last, nn.Parameter(getattr(module, last).data.to(dtype)))

    @classmethod
    @abstractmethod
    def build(cls, options: O, inputs: Inputs) -> Model[O]:
        """The model with its initial parameters, on the CPU; its graphs are where ``inputs.graphs`` puts them.

        Raises:
            mde_fast.errors.InputError: options and features that do not go together.
        """

    @abstractmethod
    def loss_parts(self, batch: Batch) -> Tensor:
        """The addends of the loss of a batch, coefficients included, (parts,); the loss is their sum.

        Nothing here may wait for the device, and all chance comes from ``batch.bits``: the step is replayed as a CUDA
        graph, and repeated bit for bit when a run goes on. Of a model that learns nothing there are none, (0,).
        """

    @abstractmethod
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Embeddings for ranking by inner product, (U, E) and (I, E), without chance: nothing dropped or pruned.

        Of several processes each has its columns of them, (U, E / P) and (I, E / P).
        """

    def begin_epoch(self, generator: torch.Generator) -> bool:
        """Get ready for an epoch, with draws from ``generator`` (on the model's device) where it needs any.

        Returns:
            Whether a captured step has to be recorded anew, as tensors that it reads were replaced.
        """
        return False

    def resume_epoch(self, generator: torch.Generator) -> bool:
        """Get ready again in the middle of an epoch: the generator is as it was at its beginning, parameters are not.

        What an epoch makes of parameters has to be in a buffer, then; what it draws comes from the generator again.
        """
        return self.begin_epoch(generator)


class HasPreferences(ABC):
    """What ``mde_fast.inspect`` asks of a model beside :class:`Model`: modalities, and how much each node prefers them.

    Attributes:
        modalities: names, in the order of every M below.
    """

    modalities: tuple[str, ...]

    @abstractmethod
    def preference_values(self) -> tuple[Tensor, Tensor]:
        """alpha of eq. 5: (U, M) and (I, M), rows adding up to 1."""

    @abstractmethod
    def encode(self) -> tuple[Tensor, Tensor]:
        """H of eq. 4, the modalities' embeddings apart: (U, M, D) and (I, M, D)."""

    @abstractmethod
    def preference_notes(self) -> tuple[str, ...]:
        """Lines that tell how the preferences are to be read under the model's options."""
