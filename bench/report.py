"""``python -m bench.report RESULT.json``: tables and a chart from what ``pytest bench/ --benchmark-json`` wrote."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from matplotlib.figure import Figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="JSON files of pytest-benchmark")
    parser.add_argument("--markdown", type=Path, help="write the tables here instead of printing them")
    parser.add_argument("--chart", type=Path, help="write a PNG of the speed-ups here")
    arguments = parser.parse_args()
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.results]
    text = "\n\n".join(describe(document) for document in documents) + "\n"
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    if arguments.chart:
        draw(documents, arguments.chart)


def describe(document: dict) -> str:
    """Tables of one result file, headed by the machine they were measured on."""
    machine = document["machine_info"]["mde_fast"]
    place = f"{machine['gpu']}, driver {machine['driver']}" if machine["gpu"] else f"{machine['cpu']}"
    commit = document["commit_info"].get("id", "")[:10]
    lines = [
        f"Measured on {place}, {machine['threads']} CPU threads, torch {machine['torch']}, Python "
        f"{machine['python']}, {document['datetime'][:10]}, commit {commit}. Milliseconds: median (quartiles)."
    ]
    for kind, title in (("test_propagate", "propagate"), ("test_spmm_not_symmetric", "spmm, not symmetric")):
        rows = [bench["extra_info"] for bench in document["benchmarks"] if bench["name"].startswith(kind)]
        if rows:
            lines += ["", f"**{title}**, forward + backward", "", *_product_table(rows)]
    operators = [bench["extra_info"] for bench in document["benchmarks"] if "operator" in bench["extra_info"]]
    if operators:
        lines += ["", "**dense operators**, random values of a dataset's sizes", "", *_operator_table(operators)]
    for bench in document["benchmarks"]:
        info = bench["extra_info"]
        if bench["name"].startswith("test_step"):
            lines += ["", f"**training step, {info['dataset']}** ({info['data']})", "", *_step_table(info)]
    accelerated = [bench["extra_info"] for bench in document["benchmarks"] if "accelerated_step" in bench["name"]]
    if accelerated:
        lines += ["", "**training step of other models**, batch 2,048, Adam", "", *_accelerated_table(accelerated)]
    lines += _other_lines(document["benchmarks"])
    return "\n".join(lines)


def _cell(timing: dict) -> str:
    return f"{timing['median']:.2f} ({timing['low']:.2f}-{timing['high']:.2f})"


def _product_table(rows: list[dict]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row["forward_backward_ms"] if name != "mde_fast"))
    head = ["graph", "edges", "width", "mde_fast", *names, "over the best", "forward, % of gather ceiling"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        timings = row["forward_backward_ms"]
        cells = [row["graph"], f"{row['edges']:,}", str(row["width"]), _cell(timings["mde_fast"])]
        cells += [_cell(timings[name]) if name in timings else "not measured" for name in names]
        cells += [f"{row['speed_up_over_best']:.1f}x", f"{row['percent_of_ceiling']:.0f} %"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _operator_table(rows: list[dict]) -> list[str]:
    lines = ["| operator | size | direction | mde_fast | alternatives | over the best |", "|---|---|---|---|---|---|"]
    for row in rows:
        for kind, direction in (("forward_ms", "forward"), ("forward_backward_ms", "forward + backward")):
            if kind not in row:
                continue
            others = {name: timing for name, timing in row[kind].items() if name != "mde_fast"}
            best = min(timing["median"] for timing in others.values()) / row[kind]["mde_fast"]["median"]
            listed = ", ".join(f"{name} {_cell(timing)}" for name, timing in others.items())
            own = _cell(row[kind]["mde_fast"])
            lines.append(f"| {row['operator']} | {row['size']} | {direction} | {own} | {listed} | {best:.1f}x |")
    return lines


def _step_table(info: dict) -> list[str]:
    lines = ["| variant | ms |", "|---|---|"]
    lines += [f"| {name} | {_cell(timing)} |" for name, timing in info["ms"].items()]
    return lines + [
        "",
        f"Outside the towers: {info['percent_outside_towers']:.0f} % of the float32 step. An epoch of "
        f"{info['steps_per_epoch']} steps: {info['seconds_per_epoch']:.1f} s, {info['seconds_per_epoch_bf16']:.1f} s "
        f"with bf16 towers. At its peak a float32 step holds {info['peak_bytes'] / 2**20:.0f} MiB above parameters, "
        f"optimiser and inputs: {info['peak_buffers']:.1f} buffers of all nodes and modalities.",
    ]


def _accelerated_table(rows: list[dict]) -> list[str]:
    lines = ["| graph | model | PyTorch | accelerated | factor | first step |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [f"{row['graph']}, {row['edges']:,} edges", f"{row['model']}: {row['about']}"]
        cells += [_cell(row["ms"]["PyTorch"]), _cell(row["ms"]["mde_fast"])]
        cells += [f"{row['speed_up']:.1f}x", f"{row['first_step_ms']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _other_lines(benchmarks: list[dict]) -> list[str]:
    lines = []
    for bench in benchmarks:
        info = bench["extra_info"]
        if bench["name"].startswith("test_evaluation"):
            lines.append(f"- evaluation, {info['dataset']}: {_cell(info['ms'])} ms")
        if bench["name"].startswith("test_graphs"):
            cached = bench["stats"]["median"]
            lines.append(f"- graphs, {info['dataset']}: {info['cold_seconds']:.1f} s cold, {cached:.2f} s cached")
        if bench["name"].startswith("test_negatives"):
            both = ", ".join(f"{name} {_cell(timing)} ms" for name, timing in info["ms"].items())
            lines.append(f"- negatives of an epoch, {info['dataset']}: {both}")
    return ["", *lines] if lines else []


def draw(documents: list[dict], path: Path) -> None:
    """A row of panels for each machine: alternatives on real graphs, on growing ones, and a step against its floor."""
    machines: dict[str, list[dict]] = {}
    for document in documents:
        machine = document["machine_info"]["mde_fast"]
        machines.setdefault(machine["gpu"] or machine["cpu"], []).extend(document["benchmarks"])
    figure = Figure(figsize=(14, 3.8 * len(machines)), layout="constrained")
    grid = figure.subplots(len(machines), 3, squeeze=False, width_ratios=(5, 4, 3))
    for (name, benchmarks), (real_axes, scaling_axes, step_axes) in zip(machines.items(), grid):
        rows = [bench["extra_info"] for bench in benchmarks if bench["name"].startswith("test_propagate")]
        steps = [bench["extra_info"] for bench in benchmarks if bench["name"].startswith("test_step")]
        _draw_real(real_axes, [row for row in rows if not row["graph"].startswith("synthetic")])
        _draw_scaling(scaling_axes, [row for row in rows if row["graph"].startswith("synthetic")])
        _draw_steps(step_axes, steps)
        real_axes.set_title(name)
        scaling_axes.set_title("propagate on growing graphs")
        step_axes.set_title("a training step")
    figure.savefig(path, dpi=130)


def _draw_real(axes, rows: list[dict]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row["forward_backward_ms"]))
    for index, name in enumerate(names):
        places = [place + (index - (len(names) - 1) / 2) * 0.8 / len(names) for place in range(len(rows))]
        known = [
            (place, row["forward_backward_ms"][name]["median"])
            for place, row in zip(places, rows)
            if name in row["forward_backward_ms"]
        ]
        axes.bar(*zip(*known), width=0.8 / len(names), label=name)
    axes.set_xticks(range(len(rows)), [f"{row['graph']}\n{row['edges']:,} edges" for row in rows])
    axes.set(yscale="log", ylabel="propagate, 2 layers: ms, forward + backward")
    if rows:
        axes.set_ylim(top=4 * max(timing["median"] for row in rows for timing in row["forward_backward_ms"].values()))
        axes.legend(frameon=False, fontsize=8, ncols=3)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_scaling(axes, rows: list[dict]) -> None:
    rows = sorted(rows, key=lambda row: row["edges"])
    for name in dict.fromkeys(name for row in rows for name in row["forward_backward_ms"]):
        known = [
            (row["edges"], row["forward_backward_ms"][name]["median"])
            for row in rows
            if name in row["forward_backward_ms"]
        ]
        axes.plot(*zip(*known), marker="o", markersize=3, label=name)
    axes.set(xscale="log", yscale="log", xlabel="directed edges of a synthetic graph", ylabel="ms, forward + backward")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_steps(axes, steps: list[dict]) -> None:
    """A step's time, and how much of it the matrix products of the towers take: the floor."""
    labels, floors, rests = [], [], []
    for info in steps:
        for precision, suffix in (("float32", ""), ("bf16", " bf16")):
            floor = info["ms"][f"towers alone{suffix}"]["median"]
            data = [] if info["data"] == "real" else f"({info['data']})".split()
            labels.append("\n".join([info["dataset"], precision, *data]))
            floors.append(floor)
            rests.append(info["ms"][f"mde_fast{suffix}"]["median"] - floor)
    axes.bar(labels, floors, color="tab:grey", label="towers (library products)")
    axes.bar(labels, rests, bottom=floors, color="tab:blue", label="all the rest")
    axes.set(ylabel="ms per training step")
    if steps:
        axes.set_ylim(top=1.25 * max(floor + rest for floor, rest in zip(floors, rests)))
        axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
