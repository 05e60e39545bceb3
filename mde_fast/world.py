"""The processes that train one model together, and everything that passes between them: no other file knows of ranks.

A process has the columns ``d / P`` of every table, and the rows ``I / P`` of the items' features. Message passing acts
on each column by itself, so graphs need no traffic; what mixes columns is a sum over processes of partial sums. They
are added up in the order of the ranks, so that bits repeat for a number of processes, whatever carries the messages.

``torchrun`` starts the processes, ends them, and starts them again. A process that nothing started so is a world of its
own, :data:`ALONE`, in which everything below returns what it is given.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import PrefixStore, Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from .errors import InputError

PATIENCE = "MDE_FAST_PATIENCE"  # seconds to wait for another process, at the start and in each message
DEFAULT_PATIENCE = 1800
GATHERED = 4096  # numbers: up to so many each process gets all addends, in one message instead of two
UNIQUE, BEGUN = "mde_fast/said/", "mde_fast/begun"  # keys of the processes' meeting place


class LostProcesses(InputError):
    """The others cannot be reached any more; nothing more can be agreed with them."""


@dataclass(frozen=True)
class Part:
    """Which of a tensor's numbers a process has.

    Attributes:
        dim: the dimension that is cut into as many pieces as there are processes; the first of them may be longer.
        groups: so many runs of equal length stand one after another in that dimension, and each is cut by itself.
    """

    dim: int
    groups: int = 1

    def of(self, whole: Tensor, rank: int, size: int) -> Tensor:
        """The piece of a process; a view where it can be."""
        pieces = self._apart(whole).tensor_split(size, self.dim + 1)
        return pieces[rank].flatten(self.dim, self.dim + 1)

    def joined(self, pieces: Sequence[Tensor]) -> Tensor:
        """The whole, of all processes' pieces in their order."""
        return torch.cat([self._apart(piece) for piece in pieces], self.dim + 1).flatten(self.dim, self.dim + 1)

    def _apart(self, tensor: Tensor) -> Tensor:
        return tensor.unflatten(self.dim, (self.groups, tensor.shape[self.dim] // self.groups))


COLUMNS = Part(1)  # of a table (N, D)
ROWS = Part(0)


class World:
    """``size`` processes, of which this one has the number ``rank``.

    Attributes:
        restarts: how often torchrun has started them again. may_restart: whether it would.
        sent: bytes that this process has sent to others, of numbers that a step needs.
    """

    def __init__(self, rank: int = 0, size: int = 1, *, restarts: int = 0, may_restart: bool = False):
        self.rank, self.size, self.restarts, self.may_restart, self.sent = rank, size, restarts, may_restart, 0
        self.meeting: Store | None = None  # it outlives processes, as long as torchrun lives

    @property
    def is_first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    # ------------------------------------------------------------------------------------------------------------------
    # What is where

    def columns(self, width: int, what: str = "embedding_size") -> int:
        """How many of ``width`` columns a process has.

        Raises:
            InputError: they cannot be dealt out evenly.
        """
        if width % self.size:
            raise InputError(
                f"{what}: {width} columns cannot be dealt out evenly to {self.size} processes; choose a multiple of "
                f"{self.size}, or another --nproc-per-node"
            )
        return width // self.size

    def rows(self, count: int, rank: int | None = None) -> slice:
        """Which of ``count`` rows a process (this one) has."""
        rank, (each, more) = self.rank if rank is None else rank, divmod(count, self.size)
        first = rank * each + min(rank, more)
        return slice(first, first + each + (rank < more))

    def own(self, whole: Tensor, part: Part) -> Tensor:
        """This process's piece of a tensor, in memory of its own; the tensor itself where one process is all."""
        return whole if self.size == 1 else part.of(whole, self.rank, self.size).clone()

    def parameter(self, whole: Tensor, part: Part) -> torch.nn.Parameter:
        """The piece as a parameter; :func:`part_of` knows what it is of."""
        return self.piece(self.own(whole, part), part)

    def piece(self, own: Tensor, part: Part) -> torch.nn.Parameter:
        """The same of a piece that is cut already."""
        parameter = torch.nn.Parameter(own)
        if self.size > 1:
            setattr(parameter, _PART, part)
        return parameter

    # ------------------------------------------------------------------------------------------------------------------
    # In a step. Each has its gradient.

    def total(self, partial: Tensor) -> Tensor:
        """The sum over processes of what each has, the same bits on all of them.

        What follows is made alike on all processes, so the gradient of the sum is that of each addend.
        """
        return partial if self.size == 1 else _Total.apply(partial, self)

    def shared(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors that all processes have alike, on the way to columns or rows that only one of them has.

        Their gradients are sums over processes, made in one message.
        """
        return tensors if self.size == 1 else _Shared.apply(self, *tensors)

    def to_columns(self, rows: Tensor, count: int) -> Tensor:
        """(I, d / P) this process's columns of all rows, from its rows (I / P, d) with all columns.

        Args:
            count: I.
        """
        return rows if self.size == 1 else _ToColumns.apply(rows, self, count)

    def columns_of_sum(self, partial: Tensor) -> Tensor:
        """(B, d / P) this process's columns of the sum over processes of (B, d)."""
        return partial if self.size == 1 else _ColumnsOfSum.apply(partial, self)

    def all_columns(self, columns: Tensor) -> Tensor:
        """(..., d) all columns of rows of which each process has (..., d / P); what follows is made alike on all."""
        return columns if self.size == 1 else _AllColumns.apply(columns, self)

    # ------------------------------------------------------------------------------------------------------------------
    # Messages, without gradients

    def sum(self, x: Tensor) -> Tensor:
        """The sum over processes in the order of their ranks.

        Of few numbers everyone gets all addends; of many each process adds up an equal share and hands it out.
        """
        flat = x.reshape(-1)
        if flat.numel() <= GATHERED:
            return _in_order(self.gathered(flat)).view(x.shape)
        share = -(-flat.numel() // self.size)
        padded = torch.nn.functional.pad(flat, (0, share * self.size - flat.numel()))
        mine = _in_order(self.exchanged(padded).view(self.size, share))
        return self.gathered(mine).view(-1)[: flat.numel()].view(x.shape)

    def gathered(self, x: Tensor) -> Tensor:
        """(P, ...) of every process's (...), all of one shape."""
        if self.size == 1:
            return x[None]
        out = x.new_empty(self.size, *x.shape)
        self._count(x, self.size - 1)
        with self._reaching_others():
            dist.all_gather(list(out.unbind(0)), x.contiguous())
        return out

    def exchanged(self, x: Tensor, received: Sequence[int] | None = None, sent: Sequence[int] | None = None) -> Tensor:
        """Flat, what the others have for this process, one after the other.

        Args:
            x: flat, what this process has for each, one after the other.
            received, sent: how many numbers from and to each; equal shares by default.
        """
        received = [x.numel() // self.size] * self.size if received is None else received
        sent = [x.numel() // self.size] * self.size if sent is None else sent
        out = x.new_empty(sum(received))
        self.sent += (sum(sent) - sent[self.rank]) * x.element_size()
        with self._reaching_others():
            dist.all_to_all_single(out, x.contiguous(), list(received), list(sent))
        return out

    def rows_of_columns(self, columns: Tensor) -> Tensor:
        """(N / P, d) this process's rows with all columns, from its columns (N, d / P) of all rows."""
        if self.size == 1:
            return columns
        width, mine = columns.shape[1], self.rows(len(columns))
        count = mine.stop - mine.start
        found = self.exchanged(columns.reshape(-1), [count * width] * self.size, self._numbers(len(columns), width))
        return found.view(self.size, count, width).transpose(0, 1).reshape(count, self.size * width)

    def columns_of_rows(self, rows: Tensor, count: int) -> Tensor:
        """The way back: (N, d / P) from (N / P, d), where N is ``count``."""
        if self.size == 1:
            return rows
        width = rows.shape[1] // self.size
        dealt = rows.view(len(rows), self.size, width).transpose(0, 1).reshape(-1)
        found = self.exchanged(dealt, self._numbers(count, width), [len(rows) * width] * self.size)
        return found.view(count, width)

    def rows_of_all(self, x: Tensor, count: int) -> Tensor:
        """(N, ...) all rows, of which this process has its own; N is ``count``."""
        if self.size == 1:
            return x
        most = -(-count // self.size)
        padded = x.new_zeros(most, *x.shape[1:])
        padded[: len(x)] = x
        sizes = [self.rows(count, rank) for rank in range(self.size)]
        return torch.cat([each[: of.stop - of.start] for each, of in zip(self.gathered(padded), sizes)])

    def _numbers(self, count: int, width: int) -> list[int]:
        """How many numbers each process's rows have."""
        return [(rows.stop - rows.start) * width for rows in (self.rows(count, rank) for rank in range(self.size))]

    def _count(self, x: Tensor, times: int) -> None:
        self.sent += x.numel() * x.element_size() * times

    # ------------------------------------------------------------------------------------------------------------------
    # Agreeing

    def any(self, flag: bool) -> bool:
        """Whether it is so for any process."""
        return flag if self.size == 1 else bool(self._control(int(flag)).any())

    def all(self, flag: bool) -> bool:
        """Whether it is so for every process."""
        return flag if self.size == 1 else bool(self._control(int(flag)).all())

    def first_says(self, text: str) -> str:
        """What the first process has here, which may depend on a clock or a folder."""
        return text if self.size == 1 else self._texts(text)[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """What the user has to be told by any process, all are told. Nothing may be sent inside.

        Raises:
            InputError: that of the first process that had one.
        """
        message = ""
        try:
            yield
        except LostProcesses:
            raise
        except InputError as error:
            if self.size == 1:
                raise
            message = str(error)
        if self.size > 1:
            told = [text for text in self._texts(message) if text]
            if told:
                raise InputError(told[0])

    def wait(self) -> None:
        """For all others to come here."""
        self.any(False)

    def begins(self, run: str) -> None:
        """Leave word for a new start that this run was begun."""
        if self.meeting is not None and self.is_first:
            self.meeting.set(BEGUN, run)

    def has_begun(self, run: str) -> bool:
        """Whether an earlier start of these processes has begun this run."""
        meeting = self.meeting
        return meeting is not None and meeting.check([BEGUN]) and meeting.get(BEGUN).decode() == run

    def _control(self, value: int) -> Tensor:
        """(P,) a number of each process, on the CPU, whichever device trains; not counted as sent."""
        before = self.sent
        found = self.gathered(torch.tensor(value))
        self.sent = before
        return found

    def _texts(self, text: str) -> list[str]:
        """Of each process; as bytes, never a pickle."""
        mine = torch.frombuffer(bytearray(text.encode() + b"\n"), dtype=torch.uint8)
        lengths = self._control(len(mine)).tolist()
        before = self.sent
        found = self.gathered(torch.nn.functional.pad(mine, (0, max(lengths) - len(mine))))
        self.sent = before
        return [bytes(each[: length - 1].tolist()).decode() for each, length in zip(found, lengths)]

    @contextmanager
    def _reaching_others(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise LostProcesses(
                f"process {self.rank} of {self.size}: cannot reach the others any more ({_reason(error)}); what "
                "was saved goes on with --resume, or by itself where torchrun has --max-restarts"
            ) from None


ALONE = World()
_PART = "part_of_whole"


def part_of(parameter: Tensor) -> Part | None:
    """Which part of a whole a parameter is; None for one that all processes have alike."""
    return getattr(parameter, _PART, None)


@contextmanager
def opened() -> Iterator[World]:
    """The world that torchrun has started this process in, :data:`ALONE` without it; once in a process.

    On GPUs each process takes the one of its number on its machine.

    Raises:
        InputError: torchrun's variables are not numbers.
        LostProcesses: the others did not come.
    """
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        yield ALONE
        return
    restarts, most = _number("TORCHELASTIC_RESTART_COUNT", 0), _number("TORCHELASTIC_MAX_RESTARTS", 0)
    world = World(_number("RANK", 0), size, restarts=restarts, may_restart=most > 0)
    patience = timedelta(seconds=_number(PATIENCE, DEFAULT_PATIENCE))
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    with world._reaching_others():
        store = _meeting_place(world, patience)
        backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
        dist.init_process_group(backend, store=store, rank=world.rank, world_size=size, timeout=patience)
    yield world
    world.wait()
    dist.destroy_process_group()  # not after an error: the others may never come


def _meeting_place(world: World, patience: timedelta) -> Store:
    """Where processes find each other's addresses: torchrun's store, else one that the first process opens.

    torchrun keeps its store when it starts processes again, with the addresses of those that died.

    Raises:
        RuntimeError: nobody is there.
    """
    address, port = os.environ.get("MASTER_ADDR", ""), _number("MASTER_PORT", 0)
    opens = world.is_first and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    deadline = time.monotonic() + patience.total_seconds()
    while not opens:  # torch would wait as well, but says at length what it waits for
        try:
            socket.create_connection((address, port), timeout=patience.total_seconds()).close()
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{address}:{port}: {error.strerror or error}") from None
            time.sleep(0.2)
    store = TCPStore(address, port, world.size, opens, patience, wait_for_workers=False, multi_tenant=True)
    world.meeting, here = store, PrefixStore(f"mde_fast/{world.restarts}", store)
    here.set(f"here/{world.rank}", "")
    missing = list(range(world.size))
    while missing := [rank for rank in missing if not here.check([f"here/{rank}"])]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"did not come: {', '.join(map(str, missing))}")
        time.sleep(0.02)
    return here


def started_by_torchrun() -> int:
    """How many processes torchrun has started for one command; 1 without it."""
    return _number("WORLD_SIZE", 1)


def speaks() -> bool:
    """Whether this process is the first of those that torchrun has started, or was started without it."""
    return _number("RANK", 0) == 0 or started_by_torchrun() == 1


def local_rank() -> int:
    """This process's number on its machine."""
    return _number("LOCAL_RANK", 0)


def says_first(message: str) -> bool:
    """Whether no other process has said the same before, so that what all have to say is said once."""
    if started_by_torchrun() == 1:
        return True
    try:
        store: Any = dist.distributed_c10d._get_default_store()
        key = hashlib.sha256(message.encode()).hexdigest()
        return store.add(UNIQUE + key, 1) == 1
    except (RuntimeError, ValueError):  # there is nobody to ask
        return True


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdigit():
        raise InputError(f"{name}={text!r} in the environment: must be a whole number, as torchrun sets it")
    return int(text)


def _reason(error: BaseException) -> str:
    """What a library says at length, without where in its sources."""
    first_line = str(error).strip().partition("\n")[0]
    return re.sub(r"\[\S*\.(cc|cpp|h):\d+\] ", "", first_line).partition(". This is typically")[0]


def _in_order(addends: Tensor) -> Tensor:
    """The sum of (P, ...), the first rank's first."""
    total = addends[0].clone()
    for addend in addends[1:]:
        total += addend
    return total


# ----------------------------------------------------------------------------------------------------------------------


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx, partial: Tensor, world: World) -> Tensor:
        return world.sum(partial)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return grad, None


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx, world: World, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.world = world
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        total = ctx.world.sum(torch.cat([grad.reshape(-1) for grad in grads]))
        parts = total.split([grad.numel() for grad in grads])
        return None, *(part.view(grad.shape) for part, grad in zip(parts, grads))


class _ToColumns(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor, world: World, count: int) -> Tensor:
        ctx.world = world
        return world.columns_of_rows(rows, count)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return ctx.world.rows_of_columns(grad), None, None


class _ColumnsOfSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, partial: Tensor, world: World) -> Tensor:
        ctx.world = world
        width = partial.shape[1] // world.size
        dealt = partial.view(len(partial), world.size, width).transpose(0, 1).reshape(-1)
        return _in_order(world.exchanged(dealt).view(world.size, len(partial), width))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return _side_by_side(ctx.world.gathered(grad)), None


class _AllColumns(torch.autograd.Function):
    @staticmethod
    def forward(ctx, columns: Tensor, world: World) -> Tensor:
        ctx.world = world
        return _side_by_side(world.gathered(columns))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return grad.chunk(ctx.world.size, dim=-1)[ctx.world.rank].contiguous(), None


def _side_by_side(columns: Tensor) -> Tensor:
    """(..., P * c) of (P, ..., c)."""
    return columns.movedim(0, -2).flatten(-2)
