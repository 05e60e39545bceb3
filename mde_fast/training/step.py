"""One optimiser step, run eagerly or replayed as a CUDA graph."""

from __future__ import annotations

import copy
import math
import warnings

import torch
from torch import Tensor

from ..kernels import NegativeTable, negatives_from_bits
from ..models import Batch, Model


class TrainingStep:
    """Negatives, forward, backward and Adam on one batch of the epoch's interactions.

    The epoch's interactions and its losses live in buffers that never move, so that a captured step finds them again.

    Attributes:
        steps: in an epoch, the last one on a short batch; none of a model that learns nothing.
        parts: (steps, parts) losses of the current epoch, on the device; nothing waits for them.
    """

    def __init__(
        self,
        model: Model,
        optimizer: torch.optim.Optimizer,
        negatives: NegativeTable,
        num_interactions: int,
        batch_size: int,
    ):
        device = model.device
        self.model, self.optimizer, self.negatives, self.batch_size = model, optimizer, negatives, batch_size
        self.steps = math.ceil(num_interactions / batch_size) if model.learns else 0
        self.draws = torch.zeros(3, num_interactions, dtype=torch.int64, device=device)  # users, positives, bits
        self.parts = torch.zeros(self.steps, len(model.part_names), device=device)

    def begin_epoch(self, users: Tensor, positives: Tensor, bits: Tensor) -> None:
        """Take over the epoch's interactions in the order in which they are trained on, and the bits of their
        negatives from :func:`random_bits`; (n,) each."""
        for row, column in zip(self.draws, (users, positives, bits)):
            row.copy_(column)

    def record_anew(self) -> None:
        """The model has replaced tensors that a step reads; nothing to do for a step that is run eagerly."""

    def __call__(self, step: int) -> None:
        """Train on batch number ``step``; its losses are in ``parts[step]`` when the device gets there."""
        first = step * self.batch_size
        self.parts[step] = self._optimise(*self.draws[:, first : first + self.batch_size])

    def _optimise(self, users: Tensor, positives: Tensor, bits: Tensor) -> Tensor:
        negatives = negatives_from_bits(self.negatives, users, bits)
        self.optimizer.zero_grad(set_to_none=True)
        parts = self.model.loss_parts(Batch(users, positives, negatives, bits))
        parts.sum().backward()
        self.optimizer.step()
        return parts.detach()


class CapturedStep(TrainingStep):
    """The same step as a CUDA graph: one launch instead of hundreds, nothing left for the CPU to do.

    A counter on the device says which batch comes next. Full batches and the short last one are a graph each.
    """

    WARM_UP_STEPS = 3  # what libraries allocate at first use must not be part of the graph

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.counter = torch.zeros((), dtype=torch.int64, device=self.draws.device)
        self.short = self.draws.shape[1] - (self.steps - 1) * self.batch_size
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def record_anew(self) -> None:
        """The model has replaced tensors that a step reads: the graphs know the old ones by their address."""
        self.graphs.clear()

    def __call__(self, step: int) -> None:
        if not self.graphs:
            self._capture()
        if step == 0 or self.next_step != step:
            self.counter.fill_(step)
        self.next_step = step + 1
        self.graphs[self.short if step == self.steps - 1 else self.batch_size].replay()

    def _body(self, size: int) -> None:
        """A step on the ``size`` interactions that the counter points at."""
        chosen = self.counter * self.batch_size + torch.arange(size, device=self.counter.device)
        parts = self._optimise(*self.draws.index_select(1, chosen))
        self.parts.index_copy_(0, self.counter[None], parts[None])
        self.counter += 1

    def _capture(self) -> None:
        before = copy.deepcopy((self.model.state_dict(), self.optimizer.state_dict(), self.parts))
        with torch.cuda.device(self.draws.device):  # streams and graphs belong to the current device
            self._warm_up()
            self._record()
        self._restore(*before)

    def _warm_up(self) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True")  # that these steps are not captured is meant
            for size in {min(self.batch_size, self.draws.shape[1]), self.short}:
                for _ in range(self.WARM_UP_STEPS):
                    self.counter.zero_()
                    self._body(size)
        torch.cuda.current_stream().wait_stream(stream)

    def _record(self) -> None:
        pool = None
        for size in {self.short, self.batch_size} if self.steps > 1 else {self.short}:
            graph = torch.cuda.CUDAGraph()
            self.counter.zero_()
            with torch.cuda.graph(graph, pool=pool):
                self._body(size)
            pool = graph.pool()
            self.graphs[size] = graph

    def _restore(self, model_state: dict[str, Tensor], optimizer_state: dict, parts: Tensor) -> None:
        """Undo the warm-up in place: a graph knows tensors by their address."""
        self.parts.copy_(parts)
        for name, tensor in self.model.state_dict().items():
            tensor.copy_(model_state[name])
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for index, parameter in enumerate(parameters):
            saved = optimizer_state["state"].get(index)
            for name, tensor in self.optimizer.state[parameter].items():
                tensor.zero_() if saved is None else tensor.copy_(saved[name])
        self.next_step = -1
