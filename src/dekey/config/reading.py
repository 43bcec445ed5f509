"""A configuration out of a YAML file, flags and overrides; unknown keys are errors that name the nearest key."""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dekey.config.presets import KEY as PRESET
from dekey.config.presets import expanded
from dekey.config.sections import Config, ModelConfig
from dekey.errors import DekeyError, nearest

CONFIG_LIMIT = 1 << 20
# Every section lies directly in the whole; what is nested deeper is a value, and wrong.
_DEPTH = 2


def read_config(
    values: Mapping[str, Any] | None = None,
    path: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
) -> Config:
    """Merge a YAML file, values from flags and ``a.b=c`` overrides into a configuration; the last one wins.

    A preset yields to what is given explicitly beside it or later.

    Args:
        values: nested values; None inside means not given.
        path: YAML file; null is a value there.
        overrides: such as ``"optim.lr=1e-3"``; the value is read as YAML, null is one.

    Raises:
        DekeyError: on a broken file, an unknown key (the nearest one is named), or a value out of range.
    """
    merged: dict[str, Any] = {}
    if path is not None:
        _merge(merged, expanded(_read_yaml(Path(path))))
    flags = _given(values or {})
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            raise DekeyError(f"found --set {override}, expected --set section.key=value, for instance optim.lr=1e-3")
        try:
            value = _parse_yaml(text)
        except ValueError as error:
            raise DekeyError(f"the value of --set {reprlib.repr(override)} is no YAML; quote it") from error
        for part in reversed(key.split(".")):
            value = {part: value}
        _merge(flags, value)
    _merge(merged, expanded(flags))
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise DekeyError(_explain(error)) from error


def _parse_yaml(text: str) -> Any:
    """Parse plain YAML; raises ValueError, whatever is wrong with it."""
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # a date such as 2020-13-45 gives the last
        raise ValueError(" ".join(str(error).split())[:150]) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > CONFIG_LIMIT:
            raise DekeyError(f"configuration {path} is larger than {CONFIG_LIMIT} bytes, expected a few lines of YAML")
        values = _parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # text that is no UTF-8 is a ValueError too
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DekeyError(f"configuration {path} cannot be read ({reason}), expected a YAML file") from error
    if not isinstance(values, dict):
        raise DekeyError(f"configuration {path} holds {type(values).__name__}, expected sections such as data and optim")
    return values


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is None."""
    return {key: _given(value) if isinstance(value, Mapping) else value for key, value in values.items() if value is not None}


def _merge(into: dict[str, Any], values: Mapping[str, Any], depth: int = 1) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and depth < _DEPTH:
            below = into.setdefault(key, {})
            if not isinstance(below, dict):
                raise DekeyError(f"configuration key {reprlib.repr(key)} is given a value and a section, expected one of them")
            _merge(below, value, depth + 1)
        else:
            into[key] = value


def _explain(error: ValidationError) -> str:
    """Turn pydantic's first complaint into one sentence with the nearest key."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        section: Any = Config
        for key in location[:-1]:
            section = section.model_fields[key].annotation
        known = [*section.model_fields, *([PRESET] if section is ModelConfig else [])]
        unknown, where = location[-1], reprlib.repr(".".join(location))
        return f"unknown configuration key {where}{nearest(unknown, known)}; known here: {', '.join(known)}"
    # Branches of a union are named in the location too; they are no keys.
    where = ".".join(part for part in location if re.fullmatch(r"[a-z_]+|\d+", part) and part not in _UNION_TAGS)
    if first["type"] == "missing":
        return f"the configuration lacks '{where}'; give it in the file or with --set {where}=…"
    if first["type"] == "invalid_key":
        return f"the configuration has the key {reprlib.repr(first['input'])}, expected names such as optim.lr"
    message = str(first["msg"]).removeprefix("Value error, ").removesuffix(" for <class 'pathlib.Path'>")
    # The value may be anything that YAML can make, also something endless.
    return f"configuration key '{where}' is {reprlib.repr(first['input'])}: {message[0].lower()}{message[1:]}"


_UNION_TAGS = {"int", "float", "bool", "str", "constrained-float", "constrained-int"}
