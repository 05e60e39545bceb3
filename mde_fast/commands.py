"""What the command lines share: flags from the options, one line for an error, one logger."""

from __future__ import annotations

import argparse
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from .data.reading import first_line
from .errors import InputError
from .models import DEFAULT_MODEL, find_model, model_names
from .options import Option, convert, shown
from .report.console import through_bars
from .runs.config import Config, make_config, model_of_file, read_options, resolve_key, schema
from .runs.presets import Preset, find_preset, preset_names
from .training.memory import is_out_of_memory, out_of_memory_advice
from .training.trainer import TrainingError
from .world import says_first, speaks, started_by_torchrun

logger = logging.getLogger("mde_fast")


class _Parser(argparse.ArgumentParser):
    """Raises the errors of argparse as ours, and takes --snake_case and MMRec's names for every option."""

    def error(self, message: str):
        raise InputError(f"{message}; see --help")


def make_parser(program: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """A parser for ``python -m mde_fast.<program>``."""
    return _Parser(
        prog=f"python -m mde_fast.{program}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


@dataclass(frozen=True)
class Given:
    """What a command was told: by flags and, below them, by a ``--config`` file.

    Attributes:
        models: whose options could be given.
        flags, file: option name -> value.
        grids: option name -> values that a file of MMRec's would try one by one.
    """

    models: tuple[str, ...]
    flags: dict[str, Any]
    file: dict[str, Any]
    grids: dict[str, tuple]

    @property
    def options(self) -> dict[str, Any]:
        return {**self.file, **self.flags}


def chosen_model(arguments: list[str]) -> str:
    """The model that a command line is about: of ``--model``, else of a ``--config`` file, else the default.

    A file tells by its key ``model`` or, as MMRec's do, by its name; of several files the last one that does.

    Raises:
        InputError: there is no such model.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model")
    parser.add_argument("--config", action="append", default=[])
    spelled = [re.sub("^--model(?==|$)", "--model", argument, flags=re.IGNORECASE) for argument in arguments]
    try:
        parsed, _ = parser.parse_known_args(spelled)
    except InputError:  # a flag without its value, which the whole parser words better
        return DEFAULT_MODEL
    model = parsed.model
    for path in reversed(parsed.config):
        model = model or model_of_file(path)
    model = (model or DEFAULT_MODEL).lower()
    find_model(model)
    return model


def add_config(parser: argparse.ArgumentParser) -> None:
    """The flag that names files of options."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        action="append",
        default=[],
        help="YAML file of options, ours or MMRec's; may be repeated, the later wins, and flags win over all",
    )


def add_options(parser: argparse.ArgumentParser, models: Iterable[str]) -> None:
    """A flag for every option that runs of ``models`` have, grouped by owner, with its default in the help."""
    groups: dict[str, Any] = {}
    options: dict[str, Option] = {}
    for model in models:
        options |= {name: entry for name, entry in schema(model).items() if name not in options}
    for name, entry in options.items():
        if entry.owner not in groups:
            title = f"options of {entry.owner}" if entry.owner in model_names() else f"{entry.owner} options"
            groups[entry.owner] = parser.add_argument_group(f"{title} (any is a YAML key too)")
        suffix = f" (default: {shown(entry.default)})" if entry.default not in (None, (), {}) else ""
        groups[entry.owner].add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=argparse.SUPPRESS,
            metavar="{" + ",".join(map(str, entry.choices)) + "}" if entry.choices else _metavar(entry),
            help=(entry.help + suffix).replace("%", "%%"),
            **({"nargs": "?", "const": "true"} if entry.type is bool else {}),
        )


def add_preset(parser: argparse.ArgumentParser, model: str) -> None:
    """The flag that names a preset, for :func:`mde_fast.runs.presets.find_preset`."""
    try:
        names = ", ".join([*preset_names(model), "none"])
    except InputError:  # a file that cannot be read matters to those alone who need a preset
        names = "none"
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help=f"options found for {model} on a dataset; --config and flags win over them. {names}, or a YAML file "
        "(default: the one named like the dataset, if any)",
    )


def _metavar(entry: Option) -> str:
    return {int: "N", float: "X", float | None: "X", bool: "true|false"}.get(entry.type, "VALUE")


def normalise_flags(arguments: list[str], own: tuple[str, ...], models: Collection[str]) -> list[str]:
    """Spell every option's flag the one way that the parser knows, whichever alias was used.

    Args:
        arguments: as typed.
        own: flags of the command itself, left alone.
        models: whose options there are.

    Raises:
        InputError: a flag that is neither.
    """
    spelled = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        name = flag[2:]
        if flag.startswith("--") and name and name not in own:
            flag = "--" + resolve_key(name, models, "command line").name.replace("_", "-")
        spelled.append(flag + equals + value)
    return spelled


def parse(
    parser: argparse.ArgumentParser, arguments: list[str], own: tuple[str, ...], models: tuple[str, ...]
) -> argparse.Namespace:
    """Parse a command line that has, beside the command's ``own`` flags, those of files, preset and options."""
    add_config(parser)
    add_preset(parser, models[0])
    add_options(parser, models)
    return parser.parse_args(normalise_flags(arguments, (*own, "config", "preset", "help"), models))


def resolve(given: Given, preset: str | None) -> tuple[Preset, Config]:
    """All options of a run of the one model that could be given: default < preset < file < flag.

    Args:
        preset: the name of one, or a file; None for the dataset's own.
    """
    (model,) = given.models
    dataset = given.options.get("dataset", schema(model)["dataset"].default)
    found = find_preset(dataset, preset, model=model)
    return found, make_config({**found.options, **given.options, "model": model})


def collect_options(parsed: argparse.Namespace, models: tuple[str, ...]) -> Given:
    """What YAML files and, over them, flags say."""
    entries = {name: entry for model in models for name, entry in schema(model).items()}
    flags = {
        name: convert(entry, getattr(parsed, name), "command line")
        for name, entry in entries.items()
        if hasattr(parsed, name)
    }
    options: dict[str, Any] = {}
    grids: dict[str, tuple] = {}
    for path in parsed.config:
        file = read_options(path, models, decided=flags)
        for note in file.notes:
            logger.info("%s", note)
        grids = {name: values for name, values in grids.items() if name not in file.options} | file.grids
        options = {name: value for name, value in options.items() if name not in file.grids} | file.options
    return Given(models, flags, options, grids)


def run_command(main: Callable[[list[str]], int | None], *, level: int = logging.INFO, processes: bool = False) -> None:
    """Run a command line: results to stdout, one line to stderr and a non-zero status for an error.

    Args:
        main: arguments -> exit status, or None for success.
        level: least important log messages to print; below WARNING they go to stdout.
        processes: several processes of torchrun may run it together; the first one prints.
    """
    _show_any_text()
    handler = through_bars()
    root = logging.getLogger("mde_fast")
    root.addHandler(handler)
    root.setLevel(level)
    root.propagate = False
    if not speaks():
        handler.setLevel(logging.CRITICAL + 1)
    if started_by_torchrun() > 1 and not processes:
        sys.exit("error: torchrun: this command is one process; start it with python -m" if speaks() else 2)
    try:
        status = main(sys.argv[1:]) or 0
        sys.stdout.flush()
        sys.exit(status)
    except (InputError, TrainingError) as error:
        if says_first(str(error)):
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        print(
            f"error: out of memory ({first_line(error)}); what was saved goes on with --resume, try "
            f"{out_of_memory_advice(error)}",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        if speaks():
            print("interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:  # stdout itself: for all other files there are messages of their own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # keeps the flush at exit quiet
        if not isinstance(error, BrokenPipeError):  # the reader of a pipe, such as head, may go
            print(f"error: cannot write the output ({error})", file=sys.stderr)
        sys.exit(1)


def _show_any_text() -> None:
    """Files and pipes get UTF-8; a terminal gets what it can show, with a replacement for what it cannot."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")
