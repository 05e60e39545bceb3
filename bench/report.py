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
    names = [name for name in rows[0]["forward_backward_ms"] if name != "mde_fast"]
    head = ["graph", "edges", "width", "mde_fast", *names, "over the best", "forward, % of gather ceiling"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [row["graph"], f"{row['edges']:,}", str(row["width"]), _cell(row["forward_backward_ms"]["mde_fast"])]
        cells += [_cell(row["forward_backward_ms"][name]) for name in names]
        cells += [f"{row['speed_up_over_best']:.1f}x", f"{row['percent_of_ceiling']:.0f} %"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _step_table(info: dict) -> list[str]:
    lines = ["| variant | ms |", "|---|---|"]
    lines += [f"| {name} | {_cell(timing)} |" for name, timing in info["ms"].items()]
    return lines + [
        "",
        f"Outside the towers: {info['percent_outside_towers']:.0f} % of the float32 step. An epoch of "
        f"{info['steps_per_epoch']} steps: {info['seconds_per_epoch']:.1f} s, {info['seconds_per_epoch_bf16']:.1f} s "
        "with bf16 towers.",
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
    """Speed of every alternative relative to mde_fast on each graph, one panel per result file."""
    panels = []
    for document in documents:
        rows = [bench["extra_info"] for bench in document["benchmarks"] if bench["name"].startswith("test_propagate")]
        if rows:
            panels.append((document["machine_info"]["mde_fast"], rows))
    if not panels:
        sys.exit("error: no propagate results to draw; run pytest bench/test_products.py --benchmark-json FILE")
    figure = Figure(figsize=(9, 3.4 * len(panels)), layout="constrained")
    for axes, (machine, rows) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels):
        names = list(rows[0]["forward_backward_ms"])
        for index, name in enumerate(names):
            heights = [row["forward_backward_ms"][name]["median"] for row in rows]
            places = [place + (index - len(names) / 2) * 0.8 / len(names) for place in range(len(rows))]
            axes.bar(places, heights, width=0.8 / len(names), label=name)
        axes.set_yscale("log")
        axes.set_xticks(range(len(rows)), [f"{row['graph']}\n{row['edges']:,} edges" for row in rows])
        axes.set(ylabel="ms, forward + backward", title=f"propagate, 2 layers: {machine['gpu'] or machine['cpu']}")
        axes.legend(frameon=False, fontsize=8, ncols=3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
