"""``python -m bench.report RESULT.json``: tables and a chart from what ``pytest bench/ --benchmark-json`` wrote."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from matplotlib.axes import Axes

from bench import report_gpu
from bench.capture import CAPTURED
from mde_fast.report.document import Block, Bullets, Document, Paragraph, Picture, Section, Table
from mde_fast.report.honesty import is_stand_in
from mde_fast.report.markdown import to_markdown
from mde_fast.report.page import to_html
from mde_fast.report.style import drawing

MODEL_ROWS = pytest.StashKey[list[dict]]()  # what the models of a run said, for the end of its output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="JSON files of pytest-benchmark")
    parser.add_argument("--markdown", type=Path, help="write the tables here instead of printing them")
    parser.add_argument("--html", type=Path, help="write the tables, and the chart if it is asked for, as a page here")
    parser.add_argument("--chart", type=Path, help="write a PNG of the speed-ups here")
    arguments = parser.parse_args()
    measured = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in arguments.results}
    document = as_document(measured)
    if arguments.chart:
        draw(list(measured.values()), arguments.chart)
    if arguments.html:
        arguments.html.write_text(to_html(*_with_chart(document, arguments.chart)), encoding="utf-8")
    if arguments.markdown:
        arguments.markdown.write_text(to_markdown(document), encoding="utf-8")
    elif not arguments.html:
        sys.stdout.write(to_markdown(document))


def _with_chart(document: Document, chart: Path | None) -> tuple[Document, Path | None]:
    """The document headed by the chart, and the folder of that."""
    if chart is None:
        return document, None
    picture = Picture(chart.name, "alternatives on real and growing graphs, and a step against its floor")
    return Document(document.title, (picture, *document.blocks), document.sections), chart.parent


def as_document(measured: dict[str, dict]) -> Document:
    """A section for each result file; ``measured`` is the name of the file -> what is in it."""
    sections = tuple(Section(name, tuple(describe(result))) for name, result in measured.items())
    return Document("Benchmarks", (), sections)


def describe(result: dict) -> list[Block]:
    """Tables of one result file, headed by the machine they were measured on."""
    benchmarks = result["benchmarks"]
    blocks: list[Block] = [_machine(result)]
    for kind, title in (("test_propagate", "propagate"), ("test_spmm_not_symmetric", "spmm, not symmetric")):
        rows = _measured_by(benchmarks, kind)
        if rows:
            blocks += [Paragraph(", forward + backward", title), _product_table(rows)]
        flushed = [{**row, **row["flushed"]} for row in rows if "flushed" in row]
        if flushed:
            blocks += [Paragraph(", the GPU's caches flushed before each call", title), _product_table(flushed)]
    operators = [bench["extra_info"] for bench in benchmarks if "operator" in bench["extra_info"]]
    if operators:
        blocks += [Paragraph(", random values of a dataset's sizes", "dense operators"), _operator_table(operators)]
    for info in _measured_by(benchmarks, "test_step"):
        blocks += [Paragraph(f" ({info['data']})", f"training step, {info['dataset']}"), *_step(info)]
    accelerated = _measured_by(benchmarks, "test_accelerated_step")
    if accelerated:
        title = Paragraph(", batch 2,048, Adam", "training step of other models")
        blocks += [title, _accelerated_table(accelerated)]
    ranks = _measured_by(benchmarks, "test_feature_rank")
    if ranks:
        blocks += [
            Paragraph(", --feature-rank full and less", f"training step, {ranks[0]['dataset']}"),
            _rank_table(ranks),
        ]
    stored = _measured_by(benchmarks, "test_storage")
    if stored:
        blocks += [Paragraph(", --storage fp32 and bf16", "training step"), _storage_table(stored)]
    models = _measured_by(benchmarks, "test_model_of_the_listing")
    if models:
        blocks += model_blocks(models)
    for kind, describe_rows in (
        ("test_replayed_step", report_gpu.steps),
        ("test_training_in_a_precision", report_gpu.precisions),
        ("test_row_sum_launches", report_gpu.launches),
    ):
        rows = _measured_by(benchmarks, kind)
        blocks += describe_rows(rows) if rows else ()
    others = tuple(_other_lines(benchmarks))
    if others:
        blocks.append(Bullets(others))
    reasons = tuple(dict.fromkeys(line for bench in benchmarks for line in _not_replayed(bench["extra_info"])))
    if reasons:
        blocks += [Paragraph(", each call launched by Python", "not replayed as CUDA graphs"), Bullets(reasons)]
    left_out = {name: why for bench in benchmarks for name, why in bench["extra_info"].get("left_out", {}).items()}
    if left_out:
        lines = tuple(f"{name}: {why}" for name, why in left_out.items())
        blocks += [Paragraph(", as they fail here or compute something else", "left out"), Bullets(lines)]
    return blocks


def _measured_by(benchmarks: list[dict], test: str) -> list[dict]:
    """What the benchmarks of one test function say of themselves."""
    return [bench["extra_info"] for bench in benchmarks if bench["name"].startswith(test)]


def _machine(result: dict) -> Paragraph:
    machine = result["machine_info"]["mde_fast"]
    place = f"{machine['gpu']}, driver {machine['driver']}" if machine["gpu"] else f"{machine['cpu']}"
    versions = "".join(f", {name} {machine[name]}" for name in ("CUDA", "triton") if machine.get(name))
    settings = "".join(f" {name}: {value}." for name, value in machine.get("gpu settings", {}).items())
    commit = result["commit_info"].get("id", "")[:10]
    return Paragraph(
        f"Measured on {place}, {machine['threads']} CPU threads, torch {machine['torch']}{versions}, Python "
        f"{machine['python']}, {result['datetime'][:10]}, commit {commit}.{settings} Milliseconds: median (quartiles)."
    )


def _cell(timing: dict) -> str:
    """Median and quartiles, with more digits where a GPU needs microseconds; and how, if it was not replayed."""
    digits = 2 if timing["median"] >= 0.1 or "how" not in timing else 4
    median, low, high = (f"{timing[name]:.{digits}f}" for name in ("median", "low", "high"))
    launched = timing.get("how", CAPTURED).partition(":")[0]
    return f"{median} ({low}-{high})" + ("" if launched == CAPTURED else f" {launched}")


def _not_replayed(info: object, name: str = "") -> Iterator[str]:
    """Variants that were no CUDA graphs of the timer's, with the reason, wherever they stand in what was measured."""
    if isinstance(info, dict):
        how = info.get("how", CAPTURED)
        if isinstance(how, str) and how != CAPTURED:
            yield f"{name}, {how}"
        for key, value in info.items():
            yield from _not_replayed(value, key)


def _product_table(rows: list[dict]) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row["forward_backward_ms"] if name != "mde_fast"))
    head = ("graph", "edges", "width", "mde_fast", *names, "over the best", "forward, % of gather ceiling")
    return Table(head, tuple(_product_line(row, names) for row in rows))


def _product_line(row: dict, names: list[str]) -> tuple[str, ...]:
    timings = row["forward_backward_ms"]
    return (
        row["graph"],
        f"{row['edges']:,}",
        str(row["width"]),
        _cell(timings["mde_fast"]),
        *(_cell(timings[name]) if name in timings else "not measured" for name in names),
        f"{row['speed_up_over_best']:.1f}x",
        f"{row['percent_of_ceiling']:.0f} %",
    )


def _operator_table(rows: list[dict]) -> Table:
    floors = ("% of floor",) if any(isinstance(row.get("floor_ms"), dict) for row in rows) else ()  # since 0.2.0
    head = ("operator", "size", "direction", "mde_fast", "alternatives", "over the best", *floors)
    directions = (("forward_ms", "forward"), ("forward_backward_ms", "forward + backward"))
    lines = (
        (row["operator"], row["size"], direction, *_against_others(row[kind]), *(_of_floor(row, kind) for _ in floors))
        for row in rows
        for kind, direction in directions
        if kind in row
    )
    return Table(head, tuple(lines))


def _of_floor(row: dict, kind: str) -> str:
    """How near we come to what a copy of the same bytes, or the product alone, takes on this machine."""
    floor = row["floor_ms"].get(kind)
    return "" if floor is None else f"{100 * floor / row[kind]['mde_fast']['median']:.0f} %"


def _against_others(timings: dict) -> tuple[str, str, str]:
    """Our time, the others' times, and how many times as fast as the best of them we are."""
    others = {name: timing for name, timing in timings.items() if name != "mde_fast"}
    best = min(timing["median"] for timing in others.values()) / timings["mde_fast"]["median"]
    listed = ", ".join(f"{name} {_cell(timing)}" for name, timing in others.items())
    return _cell(timings["mde_fast"]), listed, f"{best:.1f}x"


def _step(info: dict) -> tuple[Table, Paragraph]:
    lines = tuple((name, _cell(timing)) for name, timing in info["ms"].items())
    note = (
        f"Outside the towers: {info['percent_outside_towers']:.0f} % of the float32 step. An epoch of "
        f"{info['steps_per_epoch']} steps: {info['seconds_per_epoch']:.1f} s, {info['seconds_per_epoch_bf16']:.1f} s "
        f"with bf16 towers. At its peak a float32 step holds {info['peak_bytes'] / 2**20:.0f} MiB above parameters, "
        f"optimiser and inputs: {info['peak_buffers']:.1f} buffers of all nodes and modalities."
    )
    return Table(("variant", "ms"), lines), Paragraph(note)


def _accelerated_table(rows: list[dict]) -> Table:
    lines = (
        (
            f"{row['graph']}, {row['edges']:,} edges",
            f"{row['model']}: {row['about']}",
            _cell(row["ms"]["PyTorch"]),
            _cell(row["ms"]["mde_fast"]),
            f"{row['speed_up']:.1f}x",
            f"{row['first_step_ms']:.0f}",
        )
        for row in rows
    )
    return Table(("graph", "model", "PyTorch", "accelerated", "factor", "first step"), tuple(lines))


def _rank_table(rows: list[dict]) -> Table:
    """A line for each value of the option, and how much of the time it saves against all columns."""
    lines = (
        (
            row["model"],
            row["precision"],
            row["features"],
            value,
            f"{row['columns'][value]:,}",
            _cell(timing),
            f"{row['ms']['full']['median'] / timing['median']:.2f}x",
        )
        for row in rows
        for value, timing in row["ms"].items()
    )
    head = ("model", "precision", "image features", "rank", "columns, all modalities", "ms", "times as fast")
    return Table(head, tuple(lines))


def _storage_table(rows: list[dict]) -> Table:
    """A line for each: time of a step, what it holds above what stood before, and what stands between steps."""
    lines = (
        (
            row["dataset"],
            row["model"],
            *(_cell(row["ms"][storage]) for storage in ("fp32", "bf16")),
            *(f"{row[of][storage] / 2**20:.0f}" for of in ("peak", "kept") for storage in ("fp32", "bf16")),
        )
        for row in rows
    )
    head = ("dataset", "model", "fp32, ms", "bf16, ms", "peak, MiB", "bf16", "parameters and moments, MiB", "bf16")
    return Table(head, tuple(lines))


def model_blocks(rows: list[dict]) -> Iterator[Block]:
    """A table of a step and one of an evaluation, a line for each model, and what is in a step."""
    first = rows[0]
    head = ("model", "mde_fast, ms", "MMRec's", "ms", "times as fast")
    place = f" ({first['data']}), batch {first['batch_size']:,}"
    yield Paragraph(place, f"training step of every model, {first['dataset']}")
    yield Table((*head, "peak, MiB", "MMRec's peak"), tuple((*_model_line(r, "step_ms"), *_peaks(r)) for r in rows))
    yield Paragraph(", all metrics", f"evaluation of every model, {first['dataset']}")
    yield Table(head, tuple(_model_line(row, "evaluation_ms") for row in rows))
    yield Paragraph(
        "A step: drawing the negatives, forward, backward and Adam; MMRec's is its loader's and its trainer's. What an "
        "epoch begins with is in neither. An evaluation: ranking the validation split's users, with the metrics; we "
        "make the embeddings anew, some of MMRec's models keep those of the last training step. Peak: what a step "
        "holds above what stood before it. Both sides take turns, each in a process of its own."
    )
    repaired = {
        f"{label}: {', '.join(about['repaired'])}"
        for row in rows
        for label, about in row["about"].items()
        if about.get("repaired")
    }
    if repaired:
        yield Paragraph(
            "Stops on a CPU, where it assigns to a parameter, which was made a plain tensor, as it is on a GPU: "
            + "; ".join(sorted(repaired))
            + "."
        )
    if any(about.get("messages", "").startswith("a stand-in") for row in rows for about in row["about"].values()):
        yield Paragraph("MMRec's messages were passed by a stand-in, as PyTorch Geometric is not installed here.")


def _model_line(row: dict, kind: str) -> tuple[str, ...]:
    timings = dict(row[kind])
    ours = timings.pop("mde_fast")
    if not timings:
        return row["model"], _cell(ours), "not measured", "", ""
    ((label, theirs),) = timings.items()
    factor = theirs["median"] / ours["median"]
    return row["model"], _cell(ours), label.removeprefix("MMRec's "), _cell(theirs), f"{factor:.1f}x"


def _peaks(row: dict) -> tuple[str, str]:
    ours, *theirs = (f"{peak / 2**20:,.0f}" for peak in row["peak_bytes"].values())
    return ours, theirs[0] if theirs else ""


def _other_lines(benchmarks: list[dict]) -> Iterable[str]:
    """A line for each benchmark that has no table."""
    for bench in benchmarks:
        info = bench["extra_info"]
        if bench["name"].startswith("test_evaluation"):
            yield f"evaluation, {info['dataset']}: {_cell(info['ms'])} ms"
        if bench["name"].startswith("test_beyond_accuracy"):
            ms = _cell(info["ms"]["beyond accuracy"])
            yield f"beyond accuracy, {info['dataset']}: {info['share']:.1%} of an evaluation ({ms} ms)"
        if bench["name"].startswith("test_graphs"):
            cached = bench["stats"]["median"]
            yield f"graphs, {info['dataset']}: {info['cold_seconds']:.1f} s cold, {cached:.2f} s cached"
        if bench["name"].startswith("test_finding_the_rank"):
            shape = " x ".join(f"{size:,}" for size in info["shape"])
            found = f"rank {info['rank']:,} of {shape}, {info['features']}"
            yield f"--feature-rank {info['value']}: {found}, found in {bench['stats']['median']:.1f} s"
        if bench["name"].startswith("test_tower_product"):
            first, *others = ((name, timing["median"]) for name, timing in info["ms"].items())
            factors = ", ".join(f"{name} {first[1] / median:.2f}x" for name, median in others)
            yield f"{info['product']}, {info['instructions']}: {first[0]} {first[1]:.0f} ms, times as fast: {factors}"
        if bench["name"].startswith("test_roundings_of_a_tower"):
            each = "; ".join(f"{name} {out:.2e}, {grad:.2e}" for name, (out, grad) in info["errors"].items())
            yield f"relative errors of an image tower's result and gradient, {info['precision']}: {each}"
        if bench["name"].startswith("test_negatives"):
            both = ", ".join(f"{name} {_cell(timing)} ms" for name, timing in info["ms"].items())
            yield f"negatives of an epoch, {info['dataset']}: {both}"


def draw(documents: list[dict], path: Path) -> None:
    """A row of panels for each machine: alternatives on real graphs, on growing ones, and a step against its floor."""
    machines: dict[str, list[dict]] = {}
    for document in documents:
        machine = document["machine_info"]["mde_fast"]
        machines.setdefault(machine["gpu"] or machine["cpu"], []).extend(document["benchmarks"])
    with drawing(path, (14, 3.8 * len(machines))) as figure:
        grid = figure.subplots(len(machines), 3, squeeze=False, width_ratios=(5, 4, 3))
        for (name, benchmarks), (real_axes, scaling_axes, step_axes) in zip(machines.items(), grid):
            rows = _measured_by(benchmarks, "test_propagate")
            _draw_real(real_axes, [row for row in rows if not row["graph"].startswith("synthetic")])
            _draw_scaling(scaling_axes, [row for row in rows if row["graph"].startswith("synthetic")])
            _draw_steps(step_axes, _measured_by(benchmarks, "test_step"))
            real_axes.set_title(name)
            scaling_axes.set_title("propagate on growing graphs")
            step_axes.set_title("a training step")


def _draw_real(axes: Axes, rows: list[dict]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row["forward_backward_ms"]))
    for index, name in enumerate(names):
        places = [place + (index - (len(names) - 1) / 2) * 0.8 / len(names) for place in range(len(rows))]
        axes.bar(*zip(*_timed(rows, name, places)), width=0.8 / len(names), label=name)
    axes.set_xticks(range(len(rows)), [f"{row['graph']}\n{row['edges']:,} edges" for row in rows])
    axes.set(yscale="log", ylabel="propagate, 2 layers: ms, forward + backward")
    if rows:
        axes.set_ylim(top=4 * max(timing["median"] for row in rows for timing in row["forward_backward_ms"].values()))
        axes.legend(ncols=3)


def _timed(rows: list[dict], name: str, places: list[float]) -> list[tuple[float, float]]:
    """(place, median ms) of the rows in which a variant was timed."""
    timings = [row["forward_backward_ms"] for row in rows]
    return [(place, timing[name]["median"]) for place, timing in zip(places, timings) if name in timing]


def _draw_scaling(axes: Axes, rows: list[dict]) -> None:
    rows = sorted(rows, key=lambda row: row["edges"])
    for name in dict.fromkeys(name for row in rows for name in row["forward_backward_ms"]):
        axes.plot(*zip(*_timed(rows, name, [row["edges"] for row in rows])), marker="o", markersize=3, label=name)
    axes.set(xscale="log", yscale="log", xlabel="directed edges of a synthetic graph", ylabel="ms, forward + backward")
    axes.grid(alpha=0.3)


def _draw_steps(axes: Axes, steps: list[dict]) -> None:
    """A step's time, and how much of it the matrix products of the towers take: the floor."""
    labels, floors, rests = [], [], []
    for info in steps:
        for precision, suffix in (("float32", ""), ("bf16", " bf16")):
            floor = info["ms"][f"towers alone{suffix}"]["median"]
            data = f"({info['data']})".split() if is_stand_in(info["data"]) else []
            labels.append("\n".join([info["dataset"], precision, *data]))
            floors.append(floor)
            rests.append(info["ms"][f"mde_fast{suffix}"]["median"] - floor)
    axes.bar(labels, floors, color="tab:grey", label="towers (library products)")
    axes.bar(labels, rests, bottom=floors, color="tab:blue", label="all the rest")
    axes.set(ylabel="ms per training step")
    if steps:
        axes.set_ylim(top=1.25 * max(floor + rest for floor, rest in zip(floors, rests)))
        axes.legend()


if __name__ == "__main__":
    main()
