"""Blocks of the report on what is measured on a GPU alone."""

from __future__ import annotations

from collections.abc import Iterator

from mde_fast.report.document import Block, Paragraph, Table

KERNELS = 40  # lines of a step's table; what remains is added up in one more


def steps(rows: list[dict]) -> Iterator[Block]:
    """What a step costs besides its replays, and the kernels within one."""
    title = f"inside a step, {rows[0]['dataset']}"
    yield Paragraph(f" ({rows[0]['data']}), towers in each precision", title)
    head = ("precision", "us a step", "us in kernels", "kernels", "first step, s", "first epoch, s", "epoch, s", "MiB")
    yield Table(
        head,
        tuple(
            (
                row["precision"],
                f"{row['us']:.0f}",
                f"{row['us_in_kernels']:.0f}",
                f"{row['nodes']:.0f}",
                f"{row['first_step_seconds']:.2f}",
                f"{row['first_epoch_seconds']:.2f}",
                f"{row['epoch_seconds']:.3f}",
                f"{row['reserved_bytes'][-1] / 2**20:.0f}" if row["reserved_bytes"] else "",
            )
            for row in rows
        ),
    )
    yield Paragraph("MiB: reserved after three more epochs and evaluations. The first step compiles and captures.")
    for row in rows:
        yield Paragraph(f", {row['precision']}, of a profiler", "kernels of a step")
        yield Table(("kernel", "a step", "us"), tuple(_kernels(row["kernels"])))


def _kernels(kernels: dict[str, dict[str, float]]) -> Iterator[tuple[str, str, str]]:
    """The longest first, and the sum of the others."""
    lines = [(name, row["count"], row["us"]) for name, row in kernels.items()]
    rest = lines[KERNELS:]
    if rest:
        others = f"{len(rest)} others"
        lines = [*lines[:KERNELS], (others, sum(line[1] for line in rest), sum(line[2] for line in rest))]
    for name, count, us in lines:
        yield name.replace("|", "/")[:100], f"{count:g}", f"{us:.1f}"


def precisions(rows: list[dict]) -> Iterator[Block]:
    """A training from end to end in each precision."""
    yield Paragraph(f" ({rows[0]['data']}), MDE", f"training in each precision, {rows[0]['dataset']}")
    head = ("precision", "first epoch, s", "epoch, s", "evaluation, s", "Recall@20 of each epoch")
    yield Table(
        head,
        tuple(
            (
                row["precision"],
                f"{row['first_epoch_seconds']:.2f}",
                f"{row['epoch_seconds']:.3f}",
                f"{row['evaluation_seconds']:.3f}",
                ", ".join(f"{value:.4f}" for value in row["recall_at_20"]),
            )
            for row in rows
        ),
    )


def launches(rows: list[dict]) -> Iterator[Block]:
    """row_sum's kernel in other launches; without edges it shows what the programs themselves cost."""
    for row in rows:
        place = f", {row['graph']}, {row['edges']:,} edges in {row['pieces']:,} pieces, width {row['width']}"
        yield Paragraph(place, "launches of row_sum's kernel")
        flushed = row["flushed_ms"]
        yield Table(
            ("launch", "us", "us, caches flushed"),
            tuple(
                (name, _us(timing), _us(flushed[name]) if name in flushed else "") for name, timing in row["ms"].items()
            ),
        )


def _us(timing: dict) -> str:
    return f"{1e3 * timing['median']:.1f} ({1e3 * timing['low']:.1f}-{1e3 * timing['high']:.1f})"
