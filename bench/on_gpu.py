"""Everything that needs a GPU, inside ten minutes: tests, benchmarks, sanitizers. Started by ``bench/on_gpu.sh``.

Leaves in OUT: gpu.md, gpu.html and gpu.png (the report), stages.md (how every stage ended), log.txt, and results.tar.gz
with what pytest-benchmark wrote for each kind of benchmark. A second call runs what the first did not finish.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

from bench.stage_runner import CUT_OFF, FAILED, NOT_RUN, Outcome, Runner, fingerprint, total
from bench.stages import Stage, longest, plan

ROOT = Path(__file__).parent.parent
SOURCES = ("mde_fast", "kernels", "bench", "tests")
SECONDS, REPORT_SECONDS = 570, 30  # of a call, and of writing the report after it
LOG_BYTES = 200_000  # of each stage, its end


def main() -> int:
    parser = argparse.ArgumentParser(
        "bench/on_gpu.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, nargs="?", help="folder of the report")
    parser.add_argument("--data", type=Path, help="folder of real datasets; without one, stand-ins are measured")
    parser.add_argument("--state", type=Path, help="what is done so far; default: build/on_gpu of this checkout")
    parser.add_argument("--from", dest="first", metavar="STAGE", help="leave out the stages before this one")
    parser.add_argument("--again", action="store_true", help="run finished stages again, too")
    parser.add_argument("--seconds", type=float, help=f"for all stages of this call; default: {SECONDS}")
    parser.add_argument("--plan", "--dry-run", action="store_true", help="print the stages and their limits, run none")
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="every stage on the CPU, as small as it gets: so that a mistyped name does not cost a GPU's time",
    )
    arguments = parser.parse_args()
    state = (arguments.state or ROOT / "build" / "on_gpu" / ("rehearsal" if arguments.rehearse else "")).resolve()
    data = state / "data" if arguments.rehearse else arguments.data and arguments.data.resolve()
    groups = _from(arguments.first, plan(rehearsed=arguments.rehearse, data=data), parser)
    if arguments.plan:
        print_plan(groups)
        return 0
    if arguments.out is None:
        parser.error("name the folder of the report: bench/on_gpu.sh OUT")
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    os.environ.update(_environment(state, rehearsed=arguments.rehearse))
    runner = Runner(state, fingerprint(ROOT, SOURCES), lambda line: print(line, flush=True))
    if arguments.again or arguments.rehearse:
        runner.outcomes.clear()
    if arguments.rehearse:
        subprocess.run([sys.executable, "-m", "bench.tiny_data", str(data)], check=True)
    runner.run(groups, arguments.seconds or (total(groups) + 60 if arguments.rehearse else SECONDS))
    stages = [stage for group in groups for stage in group]
    failed = [stage.name for stage in stages if runner.outcomes[stage.name].verdict == FAILED]
    if not write(out, runner, stages):
        failed.append("the report")
    print(f"failed: {', '.join(failed)}" if failed else "nothing failed")
    left = [stage for stage in stages if not stage.missing]
    again = [stage.name for stage in left if runner.outcomes[stage.name].verdict in (CUT_OFF, NOT_RUN)]
    if again:
        print(f"not finished, the same command goes on: {', '.join(again)}")
    return 1 if failed else 0


def _from(first: str | None, groups: list[tuple[Stage, ...]], parser: argparse.ArgumentParser):
    """The groups from the one with the stage ``first``."""
    if first is None:
        return groups
    for place, group in enumerate(groups):
        if first in (stage.name for stage in group):
            return groups[place:]
    parser.error(f"--from {first}: choose from {', '.join(stage.name for group in groups for stage in group)}")


def _environment(state: Path, *, rehearsed: bool) -> dict[str, str]:
    """Of every stage. Caches outlive a state of the sources, since what is in them is found by its content."""
    caches = state / "caches"
    environment = {
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "TRITON_CACHE_DIR": str(caches / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
        "XDG_CACHE_HOME": str(caches / "graphs"),
    }
    return environment | ({"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"} if rehearsed else {})


def print_plan(groups: list[tuple[Stage, ...]]) -> None:
    for group in groups:
        for stage in group:
            beside = ", side by side" if len(group) > 1 else ""
            print(f"{stage.name}: at most {stage.seconds} s{beside}" + (f"; {stage.missing}" if stage.missing else ""))
            print(f"    {' '.join(stage.command[stage.command.index('-m') :])}")
    limits = " + ".join(str(longest(group)) for group in groups)
    print(f"at most {limits} = {total(groups)} s, cut off after {SECONDS}; then the report")


def write(out: Path, runner: Runner, stages: list[Stage]) -> bool:
    """The report and what it was made from; whether it could be made."""
    lines = ["| stage | verdict | seconds | |", "|---|---|---|---|"]
    for stage in stages:
        outcome: Outcome = runner.outcomes[stage.name]
        note = outcome.note.replace("|", "\\|")
        lines.append(f"| {stage.name} | {outcome.verdict} | {outcome.seconds:.0f} | {note} |")
    (out / "stages.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (out / "log.txt").open("w", encoding="utf-8") as log:
        for stage in stages:
            if runner.log(stage).exists():
                text = runner.log(stage).read_text(encoding="utf-8", errors="replace")
                log.write(f"== {stage.name}\n{text[-LOG_BYTES:]}\n")
    results = [path for stage in stages if (path := runner.results(stage)).exists() and path.stat().st_size]
    with tarfile.open(out / "results.tar.gz", "w:gz") as archive:
        for path in results:
            archive.add(path, path.name)
    if not results:
        print("no benchmark was finished: there is no report")
        return True
    command = [sys.executable, "-m", "bench.report", *map(str, results), "--markdown", str(out / "gpu.md")]
    command += ["--html", str(out / "gpu.html"), "--chart", str(out / "gpu.png")]
    try:
        return subprocess.run(command, timeout=REPORT_SECONDS * 4).returncode == 0
    except subprocess.TimeoutExpired:
        print("the report took too long; results.tar.gz has what it is made of: python -m bench.report")
        return False


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that no stage is left behind
    sys.exit(main())
