"""What every kernel's machine code uses on GPUs that are not there, in a file that a test compares.

``python tests/kernels/machine_code.py`` writes it anew, after a change that was meant to show there: three minutes of
one core. Names of kernels after it do so for these alone, as ``spmm normalize_rows.normalize_rows_forward``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from aot import Compiled, Request, compile_many

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_suffix(".json")
MAIN, OTHERS = "sm_90", ("sm_80", "sm_120")
WIDTHS = (64, 128)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Kernels that most of a step's time is in, or that hold the most registers: they are compiled for the other GPUs too,
# in float32 at the greater width, and for this one at both widths in bfloat16.
HEAVY = re.compile(
    r"spmm\.(row_sum|edge_dot)|bpr_(forward|backward)|node_losses_|infonce_|normalize_rows_|project_rows_"
)
# Bytes that a thread keeps in local memory, and why that is taken: nothing else may.
SPILLED = {
    "infonce.infonce_backward M=2 D=128 SCALE=5 fp32 sm_120": "8 bytes, though 127 registers are free: the assembler's "
    "choice for this one GPU. Each other size of tile or number of stages has it on another GPU.",
}


def requests() -> dict[str, Request]:
    """Name -> compilation of the kernels as their launchers launch them, with two modalities."""
    found: dict[str, Request] = {}
    for dtype_name, dtype in DTYPES.items():
        for width in WIDTHS:
            for source in _sources(width, dtype):
                name = f"{_named(source)} {dtype_name}"
                if (width, dtype_name) == (64, "bf16") and not HEAVY.search(name):
                    continue
                everywhere = (width, dtype_name) == (128, "fp32") and HEAVY.search(name)
                for target in (MAIN, *(OTHERS if everywhere else ())):
                    request = Request(
                        *(source.kernel, source.signature, source.constants, target),
                        *(source.num_warps, source.num_stages),
                    )
                    if found.setdefault(f"{name} {target}", request) != request:
                        raise ValueError(f"two kernels are named {name} {target}")
    unique: dict[str, str] = {}
    for name, request in found.items():
        unique.setdefault(repr(request), name)  # of kernels that take nothing of a width or a type, the first
    return {name: found[name] for name in sorted(unique.values())}


def _named(source) -> str:
    """``operator.kernel`` and constants that say what it is asked for; block sizes are its launcher's own matter."""
    operator, kernel = re.fullmatch(r"mde_fast\.kernels\.(\w+)\.triton_kernels:(\w+)_kernel", source.kernel).groups()
    asked = {name: value for name, value in source.constants.items() if not re.match("BLOCK_|ACC$|EPS$|PIECE$", name)}
    shown = " ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in asked.items()
    )
    return f"{operator}.{kernel} {shown}".strip()


def _sources(width: int, dtype: torch.dtype) -> list:
    """What every operator's launchers are compiled from, forward and backward, for M = 2 modalities of a width."""
    from bench.launches import recorded

    with recorded() as found:
        for call in _calls(width, dtype):
            results = call()
            for result in results if isinstance(results, tuple) else (results,):
                if result is not None and result.requires_grad:
                    result.sum().backward(retain_graph=True)
    return [launch.source for launch in found]


def _calls(width: int, dtype: torch.dtype) -> list[Callable]:
    from bench.launches import without_numbers
    from mde_fast import kernels
    from mde_fast.kernels.topk.primitives import mask_seen, select

    def rows(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta", requires_grad=True)

    def ids(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=torch.int64, device="meta")

    nodes = 400
    hub = (
        torch.arange(nodes),
        torch.zeros(nodes, dtype=torch.int64),
    )  # a row that is cut into pieces, in both directions
    ends = (torch.cat(hub), torch.cat(hub[::-1]))
    plain = without_numbers(kernels.CSRGraph.from_edges(*ends, (nodes, nodes), symmetric=True))
    stored = without_numbers(kernels.CSRGraph.from_edges(*ends, (nodes, nodes), torch.ones(2 * nodes)))
    negatives = without_numbers(kernels.NegativeTable.build(hub[0], hub[0], nodes, nodes))
    h_users, h_items, logits, x = rows(nodes, 2, width), rows(nodes, 2, width), rows(nodes, 2), rows(nodes, width)
    triples, bits = (ids(100), ids(100), ids(100)), ids(100)
    calls = [
        lambda: kernels.propagate(plain, x),
        lambda: kernels.spmm(plain, x),
        lambda: kernels.spmm(stored, x, residual=x),
        lambda: kernels.spmm(stored, x, values=rows(2 * nodes)),
        lambda: kernels.edge_softmax(stored, rows(2 * nodes)),
        lambda: kernels.node_losses(h_users, preference_logits=logits, detach=False),
        lambda: kernels.node_losses(h_users, mda="abs_cos"),
        lambda: kernels.infonce(h_users, weight=rows(nodes).detach(), nodes=ids(nodes)),
        lambda: kernels.bpr(h_users, h_items, *triples, user_logits=logits, item_logits=logits),
        lambda: kernels.bpr(h_users, h_items, *triples, user_logits=logits, fusion="sum"),
        lambda: kernels.objective(
            *(h_users, h_items, rows(2 * nodes, 2), *triples, rows(6).detach()), user_logits=logits, item_logits=logits
        ),
        lambda: kernels.normalize_rows_with_norms(h_users, h_items),
        lambda: kernels.negatives_from_bits(negatives, ids(100), bits),
        lambda: kernels.cosine_losses(h_users, h_items, rows=ids(100), target_rows=ids(100)),
        lambda: kernels.cosine_losses(h_users, h_items),
        lambda: kernels.dropout(x, 0.3, ids(), rows=None),
        lambda: kernels.dropout(rows(100, width), 0.3, ids(), rows=ids(100)),
        lambda: kernels.adam_step(
            *(rows(nodes, width).detach() for _ in range(4)), torch.ones((), device="meta"), learning_rate=1e-3
        ),
        lambda: mask_seen._run(rows(100, nodes).detach(), ids(100), stored.rowptr, stored.columns),
        lambda: select._run(rows(100, nodes).detach(), 50),
    ]
    for precision in ("fp32", "tf32", "bf16") if dtype == torch.float32 else ():
        weight = rows(width, 4096)
        calls.append(
            lambda precision=precision, weight=weight: kernels.project_rows(
                rows(nodes, 4096), ids(100), weight, precision=precision
            )
        )
    return calls


def figures(request: Request, compiled: Compiled) -> dict:
    """What the file keeps of one kernel: changes of these show in its differences."""
    return {
        "warps": request.num_warps,
        "registers": compiled.registers,
        "local": compiled.local,
        "shared": compiled.shared,
        "in_flight": compiled.wide_loads_in_flight,
        "loads": {str(bits): count for bits, count in compiled.loads.items()},
        "instructions": compiled.instructions,
    }


def measured(wanted: dict[str, Request]) -> dict[str, dict]:
    """Name -> figures."""
    return {name: figures(wanted[name], code) for name, code in zip(wanted, compile_many(list(wanted.values())))}


def main(prefixes: tuple[str, ...] = ()) -> None:
    import triton

    every = requests()
    kept = json.loads(FILE.read_text(encoding="utf-8"))["kernels"] if prefixes else {}
    fresh = {name: each for name, each in every.items() if name not in kept or name.startswith(prefixes)}
    found = {**kept, **measured(fresh)}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(found[name])}" for name in every)
    FILE.write_text(f'{{\n "triton": "{triton.__version__}",\n "kernels": {{\n{lines}\n }}\n}}\n', encoding="utf-8")
    spilled = {name: found[name]["local"] for name in every if found[name]["local"]}
    print(f"{len(fresh)} of {len(every)} kernels compiled; in local memory: {spilled or 'nothing'}")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(tuple(sys.argv[1:]))
