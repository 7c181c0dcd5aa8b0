"""`@frozen_dataclass` makes the same class as `@dataclass(frozen=True, slots=True)`, in a small part of the time.

The standard library compiles seven methods for each class, which for all of Byway's values took a quarter of the CPU
time of a start, and two MiB. Here `__init__`, `__eq__` and `__hash__` are compiled when they are first used: a start
makes values of few classes and compares hardly any. All classes share the other methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields, replace
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen_dataclass(cls: type[T]) -> type[T]:
    """Decorates a class of values. Two values are equal if all their fields are equal; a value is hashable if all its
    fields are. `fields`, `replace` and `asdict` of `dataclasses` take them. The class keeps its own `__init__` or
    `__repr__`. Keyword-only fields, ClassVar, InitVar, `__post_init__`, and `field(init=False)` without an `__init__`
    of the class are not supported.
    """
    body: dict[str, Any] = {**vars(cls)}
    own: list[str] = []
    all_fields = _inherited_fields(cls)
    for name, annotation in cls.__annotations__.items():
        if name not in all_fields:
            own.append(name)
        default = body.pop(name, MISSING)  # a slot of this name takes its place
        all_fields[name] = _named(default if isinstance(default, Field) else field(default=default), name, annotation)
    for name in ("__dict__", "__weakref__"):
        body.pop(name, None)
    defines_init = "__init__" in body
    body |= _SHARED
    body |= {
        "__slots__": tuple(own),
        "__dataclass_fields__": all_fields,
        "__match_args__": tuple([it.name for it in all_fields.values() if it.init]),
        "__qualname__": cls.__qualname__,
    }
    if "__repr__" not in body:
        body["__repr__"] = _repr
    # A class gets slots only when it is made, so it is made again. The standard library does the same.
    metaclass: Any = type(cls)
    made: Any = metaclass(cls.__name__, cls.__bases__, body)
    if not defines_init:
        made.__init__ = _first_init(made)
    result: type[T] = made
    return result


def _inherited_fields(cls: type) -> dict[str, Field[Any]]:
    inherited: dict[str, Field[Any]] = {}
    for base in reversed(cls.__mro__[1:]):
        inherited |= vars(base).get("__dataclass_fields__", {})
    return inherited


def _named(it: Any, name: str, annotation: object) -> Any:
    """Completes what `field()` returned, as `dataclass` does."""
    it.name, it.type, it.kw_only, it._field_type = name, annotation, False, _FIELD_KIND
    return it


def _first_init(cls: Any) -> Any:
    def init(self: Any, *arguments: Any, **named: Any) -> None:
        cls.__init__ = _compiled_init(cls)
        cls.__init__(self, *arguments, **named)

    return init


def _compiled_init(cls: Any) -> Any:
    """Returns an `__init__` that sets each attribute through its slot: `object.__setattr__` would look the slot up
    first and take twice the time. Every connection makes some 60 values."""
    names: dict[str, Any] = {"_MISSING": MISSING}
    parameters, lines = ["self"], ["pass"]
    for it in fields(cls):
        name, value = it.name, it.name
        if it.default is not MISSING:
            names[f"_default_{name}"] = it.default
            parameters.append(f"{name}=_default_{name}")
        elif it.default_factory is not MISSING:
            names[f"_make_{name}"] = it.default_factory
            parameters.append(f"{name}=_MISSING")
            value = f"_make_{name}() if {name} is _MISSING else {name}"
        else:
            parameters.append(name)
        names[f"_set_{name}"] = getattr(cls, name).__set__
        lines.append(f"_set_{name}(self, {value})")
    return _compiled("__init__", ", ".join(parameters), "\n ".join(lines), names)


def _first_eq(self: Any, other: object) -> bool:
    body = (
        f"return {_values(self, 'self')} == {_values(self, 'other')} if type(other) is type(self) else NotImplemented"
    )
    type(self).__eq__ = _compiled("__eq__", "self, other", body, {})
    return bool(self == other)


def _first_hash(self: Any) -> int:
    type(self).__hash__ = _compiled("__hash__", "self", f"return hash({_values(self, 'self')})", {})
    return hash(self)


def _values(instance: Any, name: str) -> str:
    """Returns source code: the tuple of all compared fields of the variable `name`."""
    return f"({''.join([f'{name}.{it.name},' for it in fields(instance) if it.compare])})"


def _compiled(name: str, parameters: str, body: str, names: dict[str, Any]) -> Any:
    exec(f"def {name}({parameters}):\n {body}", names)  # noqa: S102  # made of the names of fields, as in `dataclasses`
    return names[name]


def _reduce(self: Any) -> tuple[type, tuple[Any, ...]]:
    """Lets pickle and copy call the constructor, since the attributes of a value cannot be set."""
    return type(self), tuple([getattr(self, it.name) for it in fields(self) if it.init])


def _repr(self: Any) -> str:
    arguments = [f"{it.name}={getattr(self, it.name)!r}" for it in fields(self) if it.repr]
    return f"{type(self).__qualname__}({', '.join(arguments)})"


def _refuse_to_set(_self: object, name: str, _value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


@dataclass(init=False, repr=False, eq=False)
class _Sample:
    value: int


_FIELD_KIND = _Sample.__dataclass_fields__["value"]._field_type  # type: ignore[attr-defined]  # of a field that is no ClassVar
_SHARED: Mapping[str, Any] = {
    "__dataclass_params__": _Sample.__dataclass_params__,  # type: ignore[attr-defined]  # `dataclass` asks its bases
    "__eq__": _first_eq,
    "__hash__": _first_hash,
    "__setattr__": _refuse_to_set,
    "__delattr__": _refuse_to_delete,
    "__reduce__": _reduce,
    "__replace__": replace,  # as `copy.replace` calls it
}
