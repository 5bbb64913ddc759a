"""The config: parsed, checked against its closed schema, and refused with the key, the value and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import jsonschema
import yaml

from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec, choices

SCHEMA = Path(__file__).parents[4] / "config" / "schema.yaml"


def suggestion(key: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(key, allowed, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _explain(error: jsonschema.ValidationError) -> str:
    where = ".".join(map(str, error.absolute_path)) or "config"
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in allowed]
        prefix = "" if where == "config" else f"{where}."
        return "; ".join(
            f"{prefix}{key}: unknown key{suggestion(str(key), allowed)} (allowed: {', '.join(allowed)})"
            for key in unknown
        )
    if error.validator == "enum":
        return f"{where}: {error.instance!r} is not allowed (allowed: {', '.join(map(str, error.validator_value))})"
    if error.validator == "type":
        wanted = error.validator_value if isinstance(error.validator_value, str) else " or ".join(error.validator_value)
        return f"{where}: {error.instance!r} is not of the type {wanted}"
    return f"{where}: {error.message}"


def validate(config: dict, schema: Path = SCHEMA) -> None:
    """Refuse a config with an unknown key, a missing one or a wrong type; every fault is named."""
    validator = jsonschema.Draft202012Validator(yaml.safe_load(schema.read_text()))
    if faults := sorted(_explain(error) for error in validator.iter_errors(config)):
        raise CrayfishError("the config is refused:\n" + "\n".join(f"  {fault}" for fault in faults))


def parsed(value: object) -> object:
    """The value with texts that are YAML numbers, truths or nulls as such: nested `--config` values come as texts."""
    if isinstance(value, dict):
        return {key: parsed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [parsed(each) for each in value]
    if isinstance(value, str):
        try:
            plain = yaml.safe_load(value)
        except yaml.YAMLError:
            return value
        return plain if plain is None or isinstance(plain, bool | int | float) else value
    return value


def listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


def check_keys(where: str, keys: Iterable[str], allowed: list[str]) -> None:
    for key in keys:
        if key not in allowed:
            raise CrayfishError(f"{where}.{key}: unknown key{suggestion(key, allowed)} (allowed: {', '.join(allowed)})")


def unknown(where: str, value: object, allowed: Iterable[str]) -> CrayfishError:
    """The error that a value is none of those that are allowed."""
    allowed = list(allowed)
    hint = suggestion(str(value), allowed)
    return CrayfishError(f"{where}: {value!r} is not known{hint} (allowed: {', '.join(allowed)})")


def known(where: str, field_name: str, values: list) -> list:
    allowed = choices().get(field_name)
    for value in values:
        if allowed and value not in allowed:
            raise unknown(where, value, allowed)
    return values


def check_fields(where: str, keys: Iterable[str]) -> None:
    check_keys(where, keys, [each.name for each in fields(RunSpec) if each.name != "segments"])
