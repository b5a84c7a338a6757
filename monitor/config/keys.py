"""Which keys there are, read off the models: for error messages and for the environment's names."""

import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

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


def _tag(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("type")
    return get_args(field.annotation)[0] if field is not None else None


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
            current = next((model for model in models if _tag(model) == part), None)
            continue
        path.append(part)
        holder = current
        if models and isinstance(part, str):
            field = models[0].model_fields.get(part)
            current = field.annotation if field is not None else None
        else:
            current = item(current)
    return tuple(path), holder, current


def known_keys(holder: Any) -> list[str]:
    """Return the keys of a table."""
    return [key for model in tables(holder)[:1] for key in model.model_fields]


def leaves(root: type[BaseModel]) -> Iterator[Leaf]:
    """Yield every key of the config that is not inside a list, lists and maps as wholes."""
    for key, field in root.model_fields.items():
        models = tables(field.annotation)
        if not models:
            yield Leaf((key,), bare(field.annotation))
            continue
        for leaf in leaves(models[0]):
            yield Leaf((key, *leaf.path), leaf.annotation)


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
