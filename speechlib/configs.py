"""Frozen dataclasses to plain values and back; a key that is not a field is an error, wherever it comes from.

Configs nest (an experiment holds a model's config), live beside the class they configure, and travel as JSON
in run folders and checkpoints. Dotted names (`model.codebook_size`) address a field from outside: sweeps,
command line and notebooks all use `override`.
"""

import dataclasses
import math
import re
import types
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import SpeechlibError, UnknownName

Config = TypeVar("Config")


def to_dict(config) -> dict[str, Any]:
    """Plain values (dicts, lists, numbers, strings) of a config, nested ones included."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def from_dict(cls: type[Config], values: dict[str, Any]) -> Config:
    """The config that `to_dict` describes. Raises UnknownName for a key that is no field, SpeechlibError for a type."""
    if not isinstance(values, dict):
        raise SpeechlibError(f"{cls.__name__} needs a mapping of its fields, got {values!r}")
    hints = _hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}
    for key in values:
        if key not in known:
            raise UnknownName(f"field of {cls.__name__}", key, known)
    try:
        return cls(**{key: typed(hints[key], value, f"{cls.__name__}.{key}") for key, value in values.items()})
    except TypeError as error:
        raise SpeechlibError(f"{cls.__name__}: {error}") from None


def override(config: Config, changes: dict[str, Any]) -> Config:
    """A copy with dotted fields replaced: override(experiment, {"model.codebook_size": 10}). All at once: fields that
    only fit together, such as features and the inputs among them, can change together."""
    return _replace(config, {tuple(name.split(".")): value for name, value in changes.items()}, "")


def flatten(config, prefix: str = "") -> dict[str, Any]:
    """Dotted name -> plain value for every leaf, for tables and comparisons."""
    leaves: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            leaves |= flatten(value, f"{prefix}{field.name}.")
        else:
            leaves[prefix + field.name] = _plain(value)
    return leaves


def _replace(config, changes: dict[tuple[str, ...], Any], prefix: str):
    """A copy with fields replaced by their paths, later ones after earlier ones; those of one field together."""
    fields = {f.name for f in dataclasses.fields(config)} if dataclasses.is_dataclass(config) else set()
    own, within = {}, {}
    for (name, *rest), value in changes.items():
        if name not in fields:
            raise UnknownName(f"field of {type(config).__name__}", name if fields else f"{prefix}{name}", fields)
        if rest:
            within.setdefault(name, {})[tuple(rest)] = value
        else:
            own[name] = typed(_hints(type(config))[name], value, f"{prefix}{name}")
            within.pop(name, None)  # the later one counts
    for name, inner in within.items():
        own[name] = _replace(own.get(name, getattr(config, name)), inner, f"{prefix}{name}.")
    return dataclasses.replace(config, **own) if own else config


_hints = cache(get_type_hints)  # reads annotations anew at each call, and a list of runs makes thousands of configs


def _plain(value):
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def typed(hint, value, name: str):
    """`value` as the annotation wants it: lists become tuples, mappings become configs, whole floats become ints, and
    1e-5 a number, which YAML takes for a text.

    Raises SpeechlibError, with `name` for the field, where it is of another type.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [option for option in arguments if option is not type(None)]
        if isinstance(value, dict) and all(dataclasses.is_dataclass(option) for option in options):
            # which of several configs is meant shows in the names of the fields
            return typed(max(options, key=lambda option: _overlap(option, value)), value, name)
        errors = []
        for option in options:
            try:
                return typed(option, value, name)
            except SpeechlibError as error:
                errors.append(str(error))
        raise SpeechlibError(errors[0])
    if origin is tuple:
        if not isinstance(value, (tuple, list)):
            raise SpeechlibError(f"{name} needs a list, got {value!r}")
        if arguments[-1] is Ellipsis:
            return tuple(typed(arguments[0], item, f"{name}[{i}]") for i, item in enumerate(value))
        if len(value) != len(arguments):
            raise SpeechlibError(f"{name} needs {len(arguments)} values, got {len(value)}: {value!r}")
        return tuple(typed(a, item, f"{name}[{i}]") for i, (a, item) in enumerate(zip(arguments, value)))
    if origin is dict:
        if not isinstance(value, dict):
            raise SpeechlibError(f"{name} needs a mapping, got {value!r}")
        return {typed(arguments[0], k, name): typed(arguments[1], v, f"{name}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value)
    if hint in (int, float) and isinstance(value, str) and _EXPONENT.fullmatch(value):
        value = float(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, float) and math.isnan(value):
        raise SpeechlibError(f"{name} is not a number: nan")
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise SpeechlibError(f"{name} needs {hint.__name__}, got {value!r} ({type(value).__name__})")
    return value


_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def _overlap(cls, values: dict) -> tuple[int, int]:
    """How many of the keys are fields of cls, and how few of its fields are missing."""
    known = {field.name for field in dataclasses.fields(cls)}
    return len(known & values.keys()), -len(known - values.keys())
