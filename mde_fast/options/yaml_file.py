"""YAML files of options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError


class _UniqueKeys(yaml.SafeLoader):
    """YAML forbids a key that comes twice; PyYAML takes the last."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise InputError(f"{key.value} is written {keys.count(key.value)} times; keep one of them")
        return super().construct_mapping(node, deep)


def read_mapping(path: str | Path) -> dict[str, Any]:
    """The keys and values of a YAML file; none if it is empty.

    Raises:
        InputError: not readable, not YAML, or not a mapping.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _UniqueKeys)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give the path of a YAML file") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where is not None else ""
        raise InputError(f"{path}: not valid YAML{line}; write one 'key: value' a line") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a mapping; write one 'key: value' a line")
    return {str(key): value for key, value in content.items()}


def to_yaml(values: dict[str, Any]) -> str:
    """The reverse: a key a line, in their order."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
