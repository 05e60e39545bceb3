"""Bytes that a process sends and holds, and seconds of a step, from a :class:`mde_fast.plan.layout.Layout`."""

from __future__ import annotations

import math

from ..data_sheets import REACHED, Ceilings
from ..kernels.csr import MOST_EDGES_IN_INT32
from ..world import GATHERED
from .layout import Layout, Sizes

NUMBER = 4  # bytes of float32
OF_A_FEATURE = {"fp32": 4, "tf32": 4, "bf16": 2}  # bytes
FULL = 0.9  # of a GPU's memory: what libraries and fragments leave
MESSAGE = 20e-6  # seconds of a message, however short; an assumption
ID = 8  # bytes of an id, or of an epoch's bits for a triple

Parts = dict[str, float]


def sent_per_step(layout: Layout, sizes: Sizes, processes: int, number: int = NUMBER) -> Parts:
    """Part -> bytes that the first process sends to others in a step, of numbers of so many bytes each."""
    parts = {name: float(sum(_of_sum(count, processes) for count in counts)) for name, counts in layout.sums.items()}
    for name, counts in layout.gathered.items():
        parts[name] = parts.get(name, 0) + sum((processes - 1) * count // processes for count in counts)
    towers = 0
    rows = -(-sizes.items // processes)  # of the first process
    for tower in layout.towers:
        columns = tower.outputs // processes
        if layout.whole:
            towers += rows * columns * (processes - 1) + (sizes.items - rows) * columns
        else:
            towers += 2 * (2 * sizes.batch * columns * (processes - 1))
        towers += _of_sum(tower.parameters, processes)
    if layout.towers:
        parts["towers"] = float(towers)
    return {name: count * number for name, count in parts.items() if count}


def _of_sum(count: int, processes: int) -> int:
    """Numbers that a process sends for the ordered sum of ``count``, see :meth:`mde_fast.world.World.sum`."""
    if count <= GATHERED:
        return (processes - 1) * count
    return 2 * (processes - 1) * -(-count // processes)


def messages_per_step(layout: Layout) -> int:
    """How many messages a step waits for; a long sum is two."""
    short = [count for counts in layout.sums.values() for count in counts]
    towers = sum(2 + (1 if tower.parameters <= GATHERED else 2) for tower in layout.towers)
    return sum(1 if count <= GATHERED else 2 for count in short) + towers + sum(map(len, layout.gathered.values()))


def memory(layout: Layout, sizes: Sizes, processes: int, precision: str) -> Parts:
    """Part -> bytes that the first process holds on its device while it trains."""
    rows = -(-sizes.items // processes)
    alike = layout.alike + sum(tower.parameters for tower in layout.towers)
    features = rows * sum(tower.inputs for tower in layout.towers)
    learned = layout.tables // processes + alike + (features if layout.learns_features else 0)
    parts = {
        "parameters": learned * NUMBER,
        "gradients": learned * NUMBER,
        "Adam": 2 * learned * NUMBER,
        "features": 0 if layout.learns_features else features * OF_A_FEATURE[precision],
        "graphs": sum(_bytes_of_graph(graph.edges, graph.rows, graph.symmetric) for graph in layout.graphs),
        "interactions": sizes.interactions * ID * 6,  # users, items, and of an epoch these again, bits, negatives
        "arrays of all nodes": layout.arrays * sizes.nodes * layout.width // processes * NUMBER,
    }
    if layout.whole:
        hidden = sum(2 * tower.hidden + 2 * tower.outputs for tower in layout.towers)
        parts["towers' layers"] = rows * hidden * NUMBER
    return {name: float(size) for name, size in parts.items() if size}


def _bytes_of_graph(edges: int, rows: int, symmetric: bool) -> int:
    """Columns and row ends; of one that is not its own transpose, its values, the transpose, and its order."""
    index = 4 if edges <= MOST_EDGES_IN_INT32 else 8
    one = edges * index + (rows + 1) * index
    return one if symmetric else 2 * (one + edges * NUMBER) + edges * 8


def seconds(
    layout: Layout, sizes: Sizes, processes: int, precision: str, gpu: Ceilings, evaluated: int
) -> tuple[Parts, float]:
    """Part -> seconds of a step at the least, and seconds of an evaluation of so many users.

    Memory moves at :data:`REACHED` of its bandwidth and products are made at their peak; each message takes
    :data:`MESSAGE` and its bytes the time of the slowest link between two GPUs.
    """
    width = layout.width / processes * NUMBER  # bytes of a node's row
    moved = REACHED * gpu.memory
    graph = sum(
        2 * each.passes * (each.edges * (each.width / processes * NUMBER + NUMBER) + 2 * each.rows * width)
        for each in layout.graphs
    )
    rows = -(-sizes.items // processes) if layout.whole else 2 * sizes.batch / processes
    peak = dict(gpu.operations)
    towers = sum(
        max(
            2
            * rows
            * (2 * tower.inputs * (tower.hidden or tower.outputs) + 3 * tower.hidden * tower.outputs)
            / peak[precision],
            2 * rows * tower.inputs * OF_A_FEATURE[precision] / moved,
        )
        for tower in layout.towers
    )
    learned = layout.tables / processes + layout.alike + sum(tower.parameters for tower in layout.towers)
    if layout.learns_features:
        learned += -(-sizes.items // processes) * sum(tower.inputs for tower in layout.towers)
    whole = 8 if "node losses" in layout.sums else 4 if layout.whole else 2
    link = gpu.linked if processes <= gpu.on_a_machine else gpu.apart
    sent = sum(sent_per_step(layout, sizes, processes).values())
    step = {
        "graphs": graph / moved,
        "towers": towers,
        "losses": (whole * sizes.nodes * width + 6 * sizes.batch * width) / moved,
        "optimiser": 7 * learned * NUMBER / moved,
        "messages": 0.0 if processes == 1 else sent / link + messages_per_step(layout) * MESSAGE,
    }
    share = math.ceil(evaluated / processes)
    scores = 2 * share * sizes.items * layout.width / peak["fp32"]
    columns = (evaluated + sizes.items * (processes - 1)) * width
    evaluation = scores + share * sizes.items * NUMBER / moved + (columns / link if processes > 1 else 0.0)
    return {name: value for name, value in step.items() if value}, evaluation
