"""What the command lines share: flags from the options, one line for an error, one logger."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from .data.reading import first_line
from .errors import InputError
from .runs.config import OPTIONS, TYPES, convert, default_of, read_yaml, resolve_key
from .runs.presets import preset_names
from .training.memory import is_out_of_memory
from .training.trainer import TrainingError

logger = logging.getLogger("mde_fast")


class _Parser(argparse.ArgumentParser):
    """Raises the errors of argparse as ours, and takes --snake_case and MMRec's names for every option."""

    def error(self, message: str):
        raise InputError(f"{message}; see --help")


class _ThroughTqdm(logging.Handler):
    """Prints above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout)


def make_parser(program: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """A parser for ``python -m mde_fast.<program>``."""
    return _Parser(
        prog=f"python -m mde_fast.{program}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """A flag for every option of :class:`mde_fast.runs.config.Config`, grouped, with its default in the help."""
    groups: dict[str, Any] = {}
    for name, entry in OPTIONS.items():
        group = entry.metadata["group"]
        if group not in groups:
            groups[group] = parser.add_argument_group(f"{group} options (any is a YAML key too)")
        choices, default = entry.metadata["choices"], default_of(name)
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        suffix = f" (default: {shown})" if default not in (None, (), {}) else ""
        groups[group].add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=argparse.SUPPRESS,
            metavar="{" + ",".join(map(str, choices)) + "}" if choices else _metavar(name),
            help=(entry.metadata["help"] + suffix).replace("%", "%%"),
            **({"nargs": "?", "const": "true"} if TYPES[name] is bool else {}),
        )


def add_preset(parser: argparse.ArgumentParser) -> None:
    """The flag that names a preset, for :func:`mde_fast.runs.presets.find_preset`."""
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="options found for a dataset; --config and flags win over them. "
        f"{', '.join(preset_names())}, none, or a YAML file (default: the one named like the dataset, else default)",
    )


def _metavar(name: str) -> str:
    return {int: "N", float: "X", bool: "true|false"}.get(TYPES[name], "VALUE")


def normalise_flags(arguments: list[str], own: tuple[str, ...]) -> list[str]:
    """Spell every option's flag the one way that the parser knows, whichever alias was used.

    Args:
        arguments: as typed.
        own: flags of the command itself, left alone.

    Raises:
        InputError: a flag that is neither.
    """
    spelled = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        name = flag[2:]
        if flag.startswith("--") and name and name not in own:
            flag = "--" + resolve_key(name, "command line").replace("_", "-")
        spelled.append(flag + equals + value)
    return spelled


def collect_options(parsed: argparse.Namespace, yaml_path: str | None) -> dict[str, Any]:
    """Options from a YAML file and, over them, from flags."""
    options: dict[str, Any] = {}
    flags = {name: convert(name, getattr(parsed, name), "command line") for name in OPTIONS if hasattr(parsed, name)}
    if yaml_path is not None:
        options, notes = read_yaml(yaml_path, decided=flags)
        for note in notes:
            logger.info("%s", note)
    return {**options, **flags}


def run_command(main: Callable[[list[str]], int | None], *, level: int = logging.INFO) -> None:
    """Run a command line: results to stdout, one line to stderr and a non-zero status for an error.

    Args:
        main: arguments -> exit status, or None for success.
        level: least important log messages to print; below WARNING they go to stdout.
    """
    handler = _ThroughTqdm()
    handler.setFormatter(logging.Formatter("%(message)s"))
    root = logging.getLogger("mde_fast")
    root.addHandler(handler)
    root.setLevel(level)
    root.propagate = False
    try:
        status = main(sys.argv[1:]) or 0
        sys.stdout.flush()
        sys.exit(status)
    except (InputError, TrainingError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        print(
            f"error: out of memory ({first_line(error)}); what was saved goes on with --resume, "
            "use --device cpu, --precision bf16 or a smaller train_batch_size, embedding_size or projection_hidden",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:  # stdout itself: for all other files there are messages of their own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # keeps the flush at exit quiet
        if not isinstance(error, BrokenPipeError):  # the reader of a pipe, such as head, may go
            print(f"error: cannot write the output ({error})", file=sys.stderr)
        sys.exit(1)
