"""What is faster on this machine: measured at first use, a few milliseconds, and kept in the user's cache.

Answers are kept for a processor with its vector extensions, a number of threads and the versions of torch and of the
native kernels, so that they, and with them the bits that an operator gives, stay the same from one run to the next.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..files.folder import Folder
from ..files.places import user_cache
from . import native

logger = logging.getLogger("mde_fast.kernels")

FILE = "measured.json"
CPUINFO = Path("/proc/cpuinfo")
REPEATS = 3
# Libraries are held to fewer instructions by these, on the same processor.
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE")

_answers: dict[str, dict[str, float]] = {}  # of this process, which are good also where no file can be kept


def milliseconds(question: str, variants: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """The best of a few times of each variant, measured once per machine.

    Args:
        question: what is measured, with its size and type.
        variants: name -> what to run; each runs once before it is timed, and they take turns.

    Returns:
        name -> milliseconds.
    """
    key = f"{machine()} | {question}"
    if key not in _answers:
        known = _kept().get(key, {})
        _answers[key] = known if set(known) == set(variants) else _measure(variants)
        if _answers[key] is not known:
            _keep(key, _answers[key])
            times = ", ".join(f"{name} {time:.3g} ms" for name, time in _answers[key].items())
            logger.info("measured once on this machine: %s: %s", question, times)
    return _answers[key]


def answered() -> dict[str, dict[str, float]]:
    """Question -> its times, for all that this machine was asked so far."""
    answers, start = {**_kept(), **_answers}, f"{machine()} | "
    return {key.removeprefix(start): times for key, times in sorted(answers.items()) if key.startswith(start)}


def machine() -> str:
    """What answers depend on beside the question."""
    threads = torch.get_num_threads()
    limits = [f"{name}={os.environ[name]}" for name in LIMITS if name in os.environ]
    parts = [processor(), native.variant(), f"{threads} threads", f"torch {torch.__version__}", native.compiled_from()]
    return ", ".join([*parts, *limits])


@functools.cache
def processor() -> str:
    """Its name as the system has it; on arm64, which has none, the numbers of who designed it and of the design."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []  # a system without that file
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "CPU part" in facts:
        return f"arm64 {facts.get('CPU implementer', '')} {facts['CPU part']}"
    return facts.get("model name") or platform.processor() or platform.machine()


def _measure(variants: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    best = dict.fromkeys(variants, float("inf"))
    for repeat in range(1 + REPEATS):
        for name, run in variants.items():
            started = time.perf_counter()
            run()
            if repeat:  # libraries compile and ask for memory at the first use
                best[name] = min(best[name], 1000 * (time.perf_counter() - started))
    return best


def _folder() -> Folder | None:
    cache = user_cache()
    return None if cache is None else Folder(cache)


def _kept() -> dict[str, dict[str, float]]:
    """What the file says; nothing where it is not there or not what this module writes."""
    folder = _folder()
    if folder is None or not folder.has(FILE):
        return {}
    try:
        answers = json.loads((folder.path / FILE).read_text(encoding="utf-8"))["answers"]
        return {key: {name: float(time) for name, time in times.items()} for key, times in answers.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s cannot be read and is made anew: %s", folder.path / FILE, error)
        return {}


def _keep(key: str, times: dict[str, float]) -> None:
    """Beside what other processes have written meanwhile; a folder that cannot be written costs a measurement."""
    folder = _folder()
    if folder is None:
        return
    try:
        folder.make()
        folder.write_json(FILE, {"answers": {**_kept(), key: times}})
    except InputError as error:
        logger.info("measurements are not kept: %s", error)
