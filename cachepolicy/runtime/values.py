"""Values: how a cached value is kept, so that every reader gets one of its own, and what its bytes are.

What nobody can change is handed out as it is; rows and plain containers are built anew from values that nobody can
change; everything else is pickled, and unpickled for each reader. Each gives what unpickling would have given.
"""

from __future__ import annotations

import copyreg
import datetime
import decimal
import pickle
import sys
import uuid
import zoneinfo
from abc import abstractmethod
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from typing import Any, Final, NamedTuple

from django.apps import apps
from django.db.models import Model
from django.db.models.base import ModelState
from django.utils.safestring import SafeString

__all__ = ["Kept", "from_payload", "keep"]

# Exactly these types, not what inherits from them: nobody can change their values.
_FINAL: Final = frozenset(
    {type(None), bool, int, str, SafeString, bytes, float, decimal.Decimal, uuid.UUID}
    | {datetime.date, datetime.timedelta}
)
# Of these, the values whose zone, or whose items, nobody can change.
_WITH_ZONE: Final = frozenset({datetime.datetime, datetime.time})
_FINAL_AROUND: Final = frozenset({tuple, frozenset})
_CONTAINERS: Final = frozenset({dict, list, set, tuple})
_FINAL_ZONES: Final = frozenset({type(None), datetime.timezone, zoneinfo.ZoneInfo})
# Deeper than this is the pickler's: it is written in C.
_DEPTH: Final = 8
# Two pairs and a bound method.
_PER_BUILDER: Final = 200
_BETWEEN: Final = "\0"


class Kept:
    """A value as it is kept: for any number of readers, in any number of threads."""

    __slots__ = ("_size",)
    _size: int

    @abstractmethod
    def value(self) -> Any:
        """The value, the caller's own: changing it shows to nobody else."""

    @abstractmethod
    def payload(self) -> bytes:
        """Its bytes; raises what its objects raise when they refuse to be pickled."""

    @property
    def size(self) -> int:
        """The bytes it takes in this process's memory, about; raises where it is pickled and cannot be opened.

        It opens what it may have to, and so runs what its objects run then: not to be asked under a lock.
        """
        try:
            return self._size
        except AttributeError:
            self._size = sys.getsizeof(self) + self._measured()
            return self._size

    @abstractmethod
    def _measured(self) -> int: ...


def keep(value: Any) -> Kept:
    """A value that can be read any number of times; raises what pickling raises."""
    if _are_final((value,)):
        return _Final(value)
    built_anew = _built_anew(value, set(), 0) if _holds_rows(value) else None
    return built_anew or _Pickled(_pickled(value))


def from_payload(payload: bytes | memoryview) -> Kept:
    """What a value's bytes say, which are opened at once; raises on what cannot be opened."""
    return _OPENERS[payload[0]](memoryview(payload)[1:])


class _Final(Kept):
    """What nobody can change."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def value(self) -> Any:
        return self._value

    def payload(self) -> bytes:
        return b"f" + _pickled(self._value)

    def _measured(self) -> int:
        return _sizes((self._value,))


class _BuiltAnew(Kept):
    """What is built for every reader, of values that nobody can change."""

    __slots__ = ()

    def builder(self) -> Callable[[], Any]:
        """The quickest that gives the value."""
        return self.value

    @abstractmethod
    def form(self) -> Any:
        """What is pickled instead of the value, and unpickled to it."""


class _Shape(NamedTuple):
    """What rows of one queryset have in common; `text` names it in a pickle."""

    model: type[Model]
    alias: str | None
    names: tuple[str, ...]
    text: str


_new: Final = object.__new__


class _Rows(_BuiltAnew):
    """A list of a model's rows, as the tuples of their values."""

    __slots__ = ("_rows", "_shape")

    def __init__(self, shape: _Shape, rows: tuple[tuple[Any, ...], ...]) -> None:
        self._shape, self._rows = shape, rows

    def value(self) -> Any:
        model, alias, names, _ = self._shape
        new, state_type, found = object.__new__, ModelState, []
        for row in self._rows:
            instance = new(model)
            fields = instance.__dict__
            fields["_state"] = state = new(state_type)
            state.db = alias
            state.adding = False
            fields.update(zip(names, row))  # noqa: B905 - as long as each other, and `strict` costs a third
            found.append(instance)
        return found

    def payload(self) -> bytes:
        return b"l" + _pickled((self._shape.text, self._rows))

    def form(self) -> Any:
        return self

    def __reduce__(self) -> Any:
        return _list_of_rows, (self._shape.text, self._rows)

    def _measured(self) -> int:
        return _sizes(self._rows)


class _Row(_Rows):
    """One row alone."""

    __slots__ = ("_fields",)
    _fields: dict[str, Any]

    def value(self) -> Any:
        model, alias, names, _ = self._shape
        try:
            fields = self._fields.copy()
        except AttributeError:
            # A dict is copied in half the time that it takes to make one, and where it is read once none is needed.
            self._fields = {"_state": None, **dict(zip(names, self._rows[0], strict=True))}
            return _Rows.value(self)[0]
        fields["_state"] = state = _new(ModelState)
        state.db = alias
        state.adding = False
        instance: Any = _new(model)
        object.__setattr__(instance, "__dict__", fields)
        return instance

    def payload(self) -> bytes:
        return b"r" + _pickled((self._shape.text, self._rows))

    def __reduce__(self) -> Any:
        return _row, (self._shape.text, self._rows)


class _Container(_BuiltAnew):
    """A dict, list or set, and what in it is to be built anew."""

    __slots__ = ("_builders", "_flat", "_inside")

    def __init__(self, flat: Any, inside: list[tuple[Any, _BuiltAnew]]) -> None:
        self._flat, self._inside = flat, inside
        self._builders = [(key, kept.builder()) for key, kept in inside]

    def builder(self) -> Callable[[], Any]:
        copy: Callable[[], Any] = self._flat.copy
        return self.value if self._inside else copy

    def value(self) -> Any:
        found = self._flat.copy()
        for key, build in self._builders:
            found[key] = build()
        return found

    def payload(self) -> bytes:
        return b"p" + _pickled(self.form())

    def form(self) -> Any:
        found = self._flat.copy()
        for key, kept in self._inside:
            found[key] = kept.form()
        return found

    def _measured(self) -> int:
        flat = self._flat
        own = sys.getsizeof(flat) + _sizes(flat.values() if type(flat) is dict else flat)
        return own + sum(kept.size + _PER_BUILDER for _, kept in self._inside)


class _Tuple(_Container):
    """A tuple that holds containers or rows; it is kept as a list."""

    __slots__ = ()

    def builder(self) -> Callable[[], Any]:
        return self.value

    def value(self) -> Any:
        return tuple(super().value())

    def form(self) -> Any:
        return tuple(super().form())


class _Pickled(Kept):
    """Everything else, as its pickle, until it is kept near by or read again and can be built anew."""

    __slots__ = ("_is_unread", "_opened", "_source")

    def __init__(self, pickle: bytes | memoryview, *opened: Any) -> None:
        self._source: bytes | memoryview | _BuiltAnew = pickle
        # What the pickle was opened to, for one reader: popped, so that no two threads get it.
        self._opened = list(opened)
        self._is_unread = True

    def value(self) -> Any:
        if self._opened:
            with suppress(IndexError):
                return self._opened.pop()
        source = self._taken_apart()
        return source.value() if isinstance(source, _BuiltAnew) else pickle.loads(source)

    def payload(self) -> bytes:
        source = self._source
        return source.payload() if isinstance(source, _BuiltAnew) else b"p" + bytes(source)

    def _taken_apart(self) -> bytes | memoryview | _BuiltAnew:
        source = self._source
        if self._is_unread and not isinstance(source, _BuiltAnew):
            try:
                opened = self._opened.pop()
            except IndexError:
                opened = pickle.loads(source)
            built_anew = _built_anew(opened, set(), 0)
            if built_anew is None:
                self._opened.append(opened)
            self._source = source = built_anew or source
            self._is_unread = False  # where two threads are here, the same twice
        return source

    def _measured(self) -> int:
        source = self._taken_apart()
        return sys.getsizeof(self._opened) + (source.size if isinstance(source, _BuiltAnew) else len(source))


def _pickled(value: Any) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def _are_final(values: Collection[Any], depth: int = 0) -> bool:
    """Whether nobody can change any of them, nor what they hold."""
    return _FINAL.issuperset(map(type, values)) or all(type(v) in _FINAL or _is_final(v, depth) for v in values)


def _is_final(value: Any, depth: int = 0) -> bool:
    kind = type(value)
    if kind in _WITH_ZONE:
        return type(value.tzinfo) in _FINAL_ZONES
    if kind in _FINAL_AROUND:
        return depth < _DEPTH and _are_final(value, depth + 1)
    return kind in _FINAL


def _is_row(value: Any) -> bool:
    """Whether it is an instance of a model: not one that is still to be looked up, and says it is."""
    return issubclass(type(value), Model)


def _holds_rows(value: Any) -> bool:
    """Whether it is or holds rows, which are worth more than pickling; what else there is is pickled sooner."""
    kind = type(value)
    values = value.values() if kind is dict else value if kind is list or kind is tuple else (value,)
    if any(issubclass(held, Model) for held in set(map(type, values))):
        return True
    return any(_is_row(each[0]) for each in values if type(each) is list and each)


def _built_anew(value: Any, seen: set[int], depth: int) -> _BuiltAnew | None:
    """How it is built anew, or None for the pickler; `seen` are the ids of what is in it so far: nothing is twice."""
    kind = type(value)
    if _is_row(value):
        return _of_rows([value], _Row, seen)
    if kind is list and value and _is_row(value[0]) and (rows := _of_rows(value, _Rows, seen)):
        return rows
    if kind not in _CONTAINERS or depth > _DEPTH or id(value) in seen:
        return None
    seen.add(id(value))
    if kind is dict:
        return _container(_Container, value.copy(), seen, depth) if _are_final(value) else None
    if kind is set:
        return _Container(value.copy(), []) if _are_final(value) else None
    return _container(_Container if kind is list else _Tuple, list(value), seen, depth)


def _container(kind: type[_Container], flat: Any, seen: set[int], depth: int) -> _Container | None:
    inside: list[tuple[Any, _BuiltAnew]] = []
    if not _FINAL.issuperset(map(type, flat.values() if type(flat) is dict else flat)):
        for key, value in flat.items() if type(flat) is dict else enumerate(flat):
            if type(value) not in _FINAL and not _is_final(value):
                kept = _built_anew(value, seen, depth + 1)
                if kept is None:
                    return None
                inside.append((key, kept))
    for key, _ in inside:
        flat[key] = None
    return kind(flat, inside)


def _of_rows(instances: list[Model], kind: type[_Rows], seen: set[int]) -> _Rows | None:
    model, names = type(instances[0]), tuple(instances[0].__dict__)
    state = instances[0].__dict__.get("_state")
    shape = _shape(model, state.db, names) if type(state) is ModelState else None
    if shape is None or not _is_registered(model):
        return None
    rows: list[tuple[Any, ...]] = []
    loaded: Any = ({"db": shape.alias, "adding": False}, {"db": shape.alias, "adding": False, "fields_cache": {}})
    for instance in instances:
        if type(instance) is not model or (*instance.__dict__,) != names:
            return None
        state, *row = instance.__dict__.values()
        if type(state) is not ModelState or state.__dict__ not in loaded:
            return None  # new, of another database, or it holds other rows
        rows.append(tuple(row))
    ids = set(map(id, instances))
    if len(ids) != len(instances) or not ids.isdisjoint(seen) or not _are_final([*chain(*rows)]):
        return None
    seen |= ids
    return kind(shape, tuple(rows))


def _is_plain(model: type[Model]) -> bool:
    """Whether its rows are pickled and unpickled as Django does it."""
    return (
        model.__reduce__ is Model.__reduce__
        and model.__reduce_ex__ is Model.__reduce_ex__
        and model.__getstate__ is Model.__getstate__
        and model.__setstate__ is Model.__setstate__  # type: ignore[attr-defined]
        and model.__new__ is Model.__new__
        and model not in copyreg.dispatch_table
    )


def _is_registered(model: type[Model]) -> bool:
    """Whether it is the model of its name: a migration's historical one is not."""
    return apps.all_models[model._meta.app_label].get(model._meta.model_name or "") is model


@lru_cache(maxsize=1024)
def _shape(model: type[Model], alias: str | None, names: tuple[str, ...]) -> _Shape | None:
    """Of rows whose __dict__ has these names, or None where Django does not pickle them all and in its own way."""
    if not _is_plain(model) or not {type(alias), *map(type, names)} <= {str, type(None)}:
        return None
    parts = [model._meta.app_label, model._meta.model_name or "", alias or "", *names[1:]]
    text = _BETWEEN.join(parts)
    return _Shape(model, alias, names[1:], text) if text.split(_BETWEEN) == parts else None


@lru_cache(maxsize=1024)
def _shape_of(text: str) -> _Shape:
    app_label, name, alias, *names = text.split(_BETWEEN)
    model = apps.get_registered_model(app_label, name)
    # What is unpickled is not interned, and would be compared by letter in every look at a field.
    shape = _shape(model, alias or None, ("_state", *map(sys.intern, names)))
    if shape is None:
        raise pickle.UnpicklingError(f"{model._meta.label} is pickled in a way of its own")
    return shape


def _list_of_rows(text: str, rows: Any) -> Any:
    return _Rows(_shape_of(text), rows).value()


def _row(text: str, rows: Any) -> Any:
    return _Row(_shape_of(text), rows).value()


def _rows(kind: type[_Rows], pickled: memoryview) -> _Rows:
    text, rows = pickle.loads(pickled)
    return kind(_shape_of(text), rows)


def _sizes(values: Collection[Any]) -> int:
    around = [value for value in values if type(value) in (tuple, frozenset)]
    return sum(map(sys.getsizeof, values)) + sum(map(_sizes, around))


_OPENERS: Final[dict[int, Callable[[memoryview], Kept]]] = {
    ord("f"): lambda pickled: _Final(pickle.loads(pickled)),
    ord("r"): lambda pickled: _rows(_Row, pickled),
    ord("l"): lambda pickled: _rows(_Rows, pickled),
    ord("p"): lambda pickled: _Pickled(pickled, pickle.loads(pickled)),
}
