"""A call → its cache key, typed and unambiguous: 1, '1' and Decimal('1') differ; what has no certain key is refused."""

from __future__ import annotations

import hashlib
import inspect
import marshal
import types
from collections.abc import Mapping
from typing import Any, Final

from cachepolicy.exceptions import CacheKeyError
from cachepolicy.runtime.encoding import Unkeyed, blob, encode, text

__all__ = ["CallKeys"]

_PLAIN: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class CallKeys:
    """The keys of one function's calls: `f(1)`, `f(x=1)` and `f(1, y=2)` have one where y is 2 by default.

    A model instance counts by what it holds, not by its primary key: what a function makes of an old copy, or of one
    with unsaved edits, is never what others get who pass the row as it is. `bound_ms` is how long a value may be
    served: another bound is another key, so that a lowered one holds at once.
    """

    def __init__(self, function: types.FunctionType, bound_ms: int | None = None) -> None:
        self.place = f"{function.__module__}.{function.__qualname__}"
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters.values()
        self._names = [parameter.name for parameter in parameters]
        self._is_plain = all(parameter.kind in _PLAIN for parameter in parameters)
        self._closure = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        self.encloses = bool(self._closure)
        code = function.__code__
        # Two lambdas on a line share name and line; only their code tells them apart (format 2: no reference counts).
        body = marshal.dumps(code, 2) if "<lambda>" in code.co_name else b""
        self._identity = text("def", f"{self.place}:{code.co_firstlineno}") + blob("code", body) + encode(bound_ms)

    def key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], extra: Any = None) -> str:
        """The key of one call, 40 hex digits.

        Raises TypeError for arguments the function does not take, CacheKeyError naming one that has no certain key.
        """
        if not kwargs and self._is_plain and len(args) == len(self._names):
            arguments: Mapping[str, Any] = dict(zip(self._names, args, strict=True))
        else:
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            arguments = bound.arguments
        parts = [self._identity]
        parts += [self._part("argument", name, value) for name, value in arguments.items()]
        parts += [self._part("enclosed variable", name, _content(cell)) for name, cell in self._closure.items()]
        parts.append(self._part("the value of", "extra", extra))
        return hashlib.blake2b(b"".join(parts), digest_size=20).hexdigest()

    def _part(self, what: str, name: str, value: Any) -> bytes:
        try:
            return text(what, name) + encode(value)
        except Unkeyed as refusal:
            reason = f"holds a {refusal}"
        except RecursionError:
            reason = "contains itself, or is nested too deep"
        remedy = "pass plain values or saved model instances, or give the class a `cache_key()` method that returns one"
        if what == "enclosed variable":
            remedy = "move the function to module level and pass what it needs as an argument"
        raise CacheKeyError(f"{self.place}: {what} {name} {reason}, which has no certain cache key; {remedy}")


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return types.CellType  # not assigned yet
