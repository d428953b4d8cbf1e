"""What is wrong with a settings file of the monitor: every mistake, in words, with its key.

Pydantic finds what is wrong in a table; what names in one table mean in another is found here.
Not here: what the settings are (`config`), and where in the file a key stands (`toml_file`).
"""

import types
from collections.abc import Iterator, Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from beatward.action_settings import ActionSettings, RuleSettings
from beatward.errors import ConfigError, did_you_mean
from beatward.role_settings import ServiceSettings
from beatward.values import old_names

# How pydantic calls a wrong type, and what to write instead.
_EXPECTED = {
    "bool_type": "true or false, without quotes",
    "dict_type": "a table",
    "float_type": "a number, without quotes",
    "int_type": "a whole number, without quotes",
    "model_type": "a table",
    "path_type": "text in quotes",
    "string_too_short": "text that is not empty",
    "string_type": "text in quotes",
    "tuple_type": 'a list, as in ["dead"]',
}


def explained(problem: Any, file: str, model: type[BaseModel]) -> ConfigError:
    """Return one of pydantic's errors about a file in our words; `model` is of the whole file."""
    places = problem["loc"]
    key = ".".join(str(part) for part in places) or "the file"
    kind = problem["type"]
    if kind == "extra_forbidden":
        table = _table_of(places, model)
        if (name := old_names(table).get(places[-1])) is not None:
            return ConfigError(file, key, places[-1], f"{name} alone, which is its name of today")
        alike = did_you_mean(places[-1], table.model_fields)
        return ConfigError(
            file, key, places[-1], f"no such key{alike}; see: beatward config explain"
        )
    if kind == "missing":
        return ConfigError(file, key, "nothing", "a value, it has no default")
    text = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    expected = _EXPECTED.get(kind, text)
    if kind == "literal_error":
        expected += did_you_mean(
            problem["input"], text.replace(" or ", ", ").replace("'", "").split(", ")
        )
    return ConfigError(file, key, problem["input"], expected)


def _table_of(places: tuple[str | int, ...], model: type[BaseModel]) -> type[BaseModel]:
    """Return the table that a key stands in."""
    for place in places[:-1]:
        # A name of a table of tables, or a number in a list of them, is no field.
        field = model.model_fields.get(str(place))
        model = model if field is None else (model_of(field.annotation) or model)
    return model


def model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the table that a setting is, or has as its members."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) not in (dict, tuple, Union, types.UnionType):
        return None
    models = (model_of(part) for part in get_args(annotation))
    return next((model for model in models if model is not None), None)


def unknown_actions(data: Mapping[str, Any], file: str) -> Iterator[ConfigError]:
    """Yield what asks for actions that no table defines; the tables need not be right."""
    known = _table(data.get("action"))
    for name, service in _table(data.get("service")).items():
        fence = _table(service).get("fence")
        if isinstance(fence, str) and fence not in known:
            yield _no_action(file, f"service.{name}.fence", fence, known)
    rules = data.get("rule")
    for index, rule in enumerate(rules if isinstance(rules, list | tuple) else ()):
        actions = _table(rule).get("actions")
        for name in actions if isinstance(actions, list | tuple) else ():
            if isinstance(name, str) and name not in known:
                yield _no_action(file, f"rule.{index}.actions", name, known)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _no_action(file: str, key: str, name: str, known: Mapping[str, Any]) -> ConfigError:
    names = ", ".join(sorted(known)) or "none is defined"
    expected = f"the name of an [action.NAME] table ({names}){did_you_mean(name, known)}"
    return ConfigError(file, key, name, expected)


def unfit_actions(
    file: str,
    actions: Mapping[str, ActionSettings],
    services: Mapping[str, ServiceSettings],
    rules: tuple[RuleSettings, ...],
) -> Iterator[ConfigError]:
    """Yield what asks for an action of a kind that is not for it.

    What asks for an action that no table defines is passed over: see `unknown_actions`.
    """
    fenced = {}
    for name, service in services.items():
        if service.fence is None or service.fence not in actions:
            continue
        fenced[service.fence] = name
        if actions[service.fence].kind == "notify":
            expected = "an action that cuts a node off; kind = notify only tells people"
            yield ConfigError(file, f"service.{name}.fence", service.fence, expected)
    for index, rule in enumerate(rules):
        for name in rule.actions if rule.role else ():
            action = actions.get(name)
            expected = "one that only tells"
            if name in fenced:
                # Whatever it says of `destructive`: told of a new holder, it cuts that one off.
                expected += f"; this is the fence of service.{fenced[name]}, and cuts a node off"
                yield ConfigError(file, f"rule.{index}.actions", name, expected)
            elif action is not None and (action.is_revival or action.is_destructive):
                expected += ": a webhook, kind = notify, or revives = false, destructive = false"
                yield ConfigError(file, f"rule.{index}.actions", name, expected)
