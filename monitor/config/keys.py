"""Which keys there are, read off the models; and pydantic's errors in plain words, never with a value."""

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ValidationError

from monitor.config.settings import Config
from monitor.config.values import PROBLEM, Exclusive
from monitor.errors import nearest

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One key that the environment can set."""

    path: tuple[str, ...]
    annotation: Any
    """Its bare type: `bool`, `int`, `dict`, `tuple`, …"""


def dotted(path: Iterable[str | int]) -> str:
    """Return a path as people write it: `accounts[0].connections[1].name`."""
    text = ""
    for part in path:
        # A key may hold line breaks if it is quoted; a message must not.
        text += f"[{part}]" if isinstance(part, int) else f".{part if part.isprintable() else ascii(part)}"
    return text.removeprefix(".")


def bare(annotation: Any) -> Any:
    """Return a type without its `Annotated` and `| None`."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        given = [part for part in get_args(annotation) if part is not type(None)]
        return bare(given[0]) if len(given) == 1 else annotation
    return annotation


def tables(annotation: Any) -> tuple[type[BaseModel], ...]:
    """Return the models that a value of this type can be: none, one, or one for each `type`."""
    annotation = bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(model for part in get_args(annotation) for model in tables(part))
    return ()


def item(annotation: Any) -> Any:
    """Return the type of a list's items or of a map's values; None for anything else."""
    annotation = bare(annotation)
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0]
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    return None


def follow(root: type[BaseModel], location: Sequence[str | int]) -> tuple[Path, Any, Any]:
    """Return a validation error's location as a path of keys, the type of what holds it, and its own type.

    pydantic puts the tag of a discriminated union between an index and a key; a path has no such thing.
    """
    path: list[str | int] = []
    holder: Any = root
    current: Any = root
    for part in location:
        models = tables(current)
        if len(models) > 1 and isinstance(part, str):
            tagged = (model for model in models if part in get_args(model.model_fields["type"].annotation))
            current = next(tagged, None)
            continue
        path.append(part)
        holder = current
        if models and isinstance(part, str):
            field = models[0].model_fields.get(part)
            current = field.annotation if field is not None else None
        else:
            current = item(current)
    return tuple(path), holder, current


def leaves(root: type[BaseModel]) -> Iterator[Leaf]:
    """Yield every key of the config that is not inside a list, lists and maps as wholes."""
    for key, field in root.model_fields.items():
        models = tables(field.annotation)
        if not models:
            yield Leaf((key,), bare(field.annotation))
            continue
        for leaf in leaves(models[0]):
            yield Leaf((key, *leaf.path), leaf.annotation)


def rivals(root: type[BaseModel]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the keys that exclude each other, outside of lists, with their table."""
    for table, field in root.model_fields.items():
        for key in (key for model in tables(field.annotation) for key in model.model_fields.values()):
            for check in (part.func for part in key.metadata if isinstance(part, AfterValidator)):
                if isinstance(check, Exclusive):
                    yield table, check.keys


def is_map(root: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether any key may stand below this path."""
    current: Any = root
    for part in path:
        models = tables(current)
        if not models or part not in models[0].model_fields:
            return False
        current = models[0].model_fields[part].annotation
    models = tables(current)
    return get_origin(bare(current)) is dict or (
        len(models) == 1 and models[0].model_config.get("extra") == "allow"
    )


# The texts of these types come from the model, not from the input: `ctx` holds limits and choices.
_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "missing: this key is required",
    "string_type": lambda _: "expected text in quotes",
    "bool_type": lambda _: "expected true or false",
    "int_type": lambda _: "expected a whole number, like 30",
    "float_type": lambda _: "expected a number, like 0.5",
    "finite_number": lambda _: "expected a number, like 0.5",
    "literal_error": lambda ctx: f"expected one of {ctx['expected']}",
    "greater_than": lambda ctx: f"must be more than {ctx['gt']}",
    "greater_than_equal": lambda ctx: f"must be at least {ctx['ge']}",
    "less_than_equal": lambda ctx: f"must be at most {ctx['le']}",
    "too_short": lambda _: "must not be empty",
    "tuple_type": lambda _: 'expected a list, like ["…"]',
    "dict_type": lambda _: 'expected a table, like { key = "value" }',
    "model_type": lambda _: "expected a table of keys and values",
    "model_attributes_type": lambda _: "expected a table of keys and values",
    "union_tag_not_found": lambda _: "missing: this key is required",
    "union_tag_invalid": lambda ctx: f"expected one of {ctx['expected_tags']}",
}


def explain(exc: ValidationError, origins: Mapping[tuple[str, ...], str]) -> list[str]:
    """Return one sentence for each error of a validation of the whole config."""
    sentences = []
    errors = exc.errors(include_url=False, include_input=False)
    for error in errors:
        below = (each["loc"][:-1] == error["loc"] for each in errors)
        if error["type"] == "too_short" and any(below):
            continue  # it is not empty: what it holds is faulty
        path, holder, expected = follow(Config, error["loc"])
        kind, words = error["type"], _WORDS.get(error["type"])
        if kind in ("union_tag_not_found", "union_tag_invalid"):
            path = (*path, "type")
        if kind == "extra_forbidden":
            text = _unknown(str(path[-1]), holder)
        elif kind == "tuple_type" and tables(item(expected)):
            table = ".".join(part for part in path if isinstance(part, str))
            text = f"expected a list of tables, like [[{table}]]"
        elif kind == PROBLEM:
            text = error["msg"]
        else:
            text = words(error.get("ctx", {})) if words else "not a valid value"
        sentences.append(at(path, text, origins))
    return sentences


def at(path: Path, text: str, origins: Mapping[tuple[str, ...], str]) -> str:
    """Return a sentence about what stands at a path, with the variable that set it if one did."""
    where = dotted(path)
    named = tuple(part for part in path if isinstance(part, str))
    for depth in range(len(named), 0, -1):
        if named[:depth] in origins:
            return f"{where} (from {origins[named[:depth]]}): {text}"
    return f"{where}: {text}" if where else text


def _unknown(key: str, holder: Any) -> str:
    known = [key for model in tables(holder)[:1] for key in model.model_fields]
    close = nearest(key, known)
    hint = f"did you mean {close}?" if close else f"known here: {', '.join(known)}"
    return f"unknown key; {hint}"
