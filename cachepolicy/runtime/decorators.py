"""cached_as and cached, by policy: the rule gives the timeout, and every argument has an unambiguous key."""

from __future__ import annotations

import functools
import hashlib
import inspect
import types
import uuid
from collections.abc import Callable, Hashable, Iterable
from copy import deepcopy
from datetime import timedelta
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar, cast

from cacheops.conf import settings as cacheops_settings
from cacheops.sharding import get_prefix
from cacheops.signals import cache_read
from django.apps import apps
from django.db import connections, models
from django.db.models.manager import BaseManager

from cachepolicy import conf
from cachepolicy.exceptions import PolicyError, UnsupportedFunctionError
from cachepolicy.policies.durations import Duration
from cachepolicy.policies.model import CallRule, ModelRule
from cachepolicy.policies.problems import Origin, Problem, did_you_mean
from cachepolicy.runtime import near, switch
from cachepolicy.runtime.answers import answer
from cachepolicy.runtime.dependencies import dnfs
from cachepolicy.runtime.identities import has_one_prefix
from cachepolicy.runtime.keys import CallKeys
from cachepolicy.runtime.places import Place
from cachepolicy.runtime.reads import near_copy
from cachepolicy.runtime.simple_cache import forget
from cachepolicy.runtime.tables import Bounds
from cachepolicy.runtime.transactions import transaction_states

__all__ = ["cached", "cached_as"]

P = ParamSpec("P")
R = TypeVar("R")
# Equal ones of these types, each with its type, are one argument.
_SIMPLE: Final = frozenset({int, str, bool, type(None), uuid.UUID, bytes})

Timeout = str | int | timedelta | Duration
Sample = str | type[models.Model] | models.Model | models.QuerySet[Any]


def cached_as(
    *samples: Sample,
    timeout: Timeout | None = None,
    extra: Any = None,
    lock: bool | None = None,
    keep_fresh: bool = True,  # noqa: ARG001 - of cacheops; the lease answers it for every read
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Cache a function until one of its models is written, for no longer than its rule's timeout.

    `samples` is the name of a rule in `functions:`, or models, instances and querysets as in cacheops. `timeout`
    (seconds, "30s" or a timedelta) may shorten the rule's, never lengthen it. An argument counts by type and value, a
    model instance by what it holds. `extra` is a value, or a function of the arguments, that the key depends on too. A
    result is returned and not stored where a write came in between, whatever cacheops' `keep_fresh` says. Raises
    PolicyError for an unknown rule or a model without one, UnsupportedFunctionError for an async function or a
    generator, and at the call CacheKeyError for an argument without a certain key.
    """
    if not samples:
        raise TypeError("cached_as needs the name of a rule in `functions:`, or the models it depends on")
    if conf.problems():
        return _uncached
    if isinstance(samples[0], str):
        rule = _call_rule("cached_as", samples)
        if not rule.depends_on.value:
            remedy = "add `depends_on`, or use `cached` for a function that only time refreshes"
            raise _problem(rule.origin, f"functions.{rule.name}", "cached_as needs models to depend on", remedy)
        allowed, labels = _allowed_by(rule), rule.depends_on.value
        lock = rule.lock.value if lock is None else lock
        resolve: Callable[[], list[Any]] = lambda: [apps.get_model(label) for label in labels]  # noqa: E731
    else:
        allowed = _least(_allowed_by(_rule_of(sample)) for sample in samples)
        resolve = lambda: list(samples)  # noqa: E731
    allowed = _shortened(timeout, allowed)
    name = samples[0] if isinstance(samples[0], str) else None
    return lambda function: _Cached(function, lambda: _dependencies(resolve(), lock), extra, allowed, name).wrapper


def cached(
    name: str | None = None, *, timeout: Timeout | None = None, extra: Any = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Cache a function for the timeout of a rule in `functions:`, or for `timeout` under `max_staleness`.

    Only time refreshes it; calls inside a transaction that has written are not cached. The wrapper has
    `invalidate(*args, **kwargs)`, for the call with just these arguments: an instance counts by what it holds, so pass
    one that holds the same. Arguments and errors are as for cached_as; without a rule a timeout is required.
    """
    if callable(name) or (name is None and timeout is None):
        raise TypeError('cached needs the name of a rule, as in @cached("rates"), or a timeout, as in timeout="30s"')
    if conf.problems():
        return _uncached
    if name is None:
        ceiling = conf.policies().max_staleness
        allowed = Bounds(ceiling.value.ms if ceiling else Duration.parse("8760h").ms, 0, 0)
    else:
        rule = _call_rule("cached", (name,))
        if rule.depends_on.value:
            what = "`cached` would ignore what this rule depends on"
            raise _problem(rule.origin, f"functions.{rule.name}", what, "use `cached_as`, or remove `depends_on`")
        if rule.lock.value:
            remedy = "use `cached_as` with `depends_on`, or remove `lock`"
            raise _problem(rule.lock.origin, f"functions.{rule.name}.lock", "`cached` has no lock", remedy)
        allowed = _allowed_by(rule)
    allowed = _shortened(timeout, allowed)
    return lambda function: _Cached(function, _Dependencies, extra, allowed, name).invalidated_by_hand()


class _Dependencies(NamedTuple):
    """What a function's value depends on: the conditions, the databases, and the name of the samples in its key."""

    conditions: dict[str, list[dict[str, Any]]] = {}
    dbs: tuple[str, ...] = ()
    name: str = ""
    lock: bool = False


def _dependencies(samples: list[Any], lock: bool | None) -> _Dependencies:
    conditions: dict[str, list[dict[str, Any]]] = {}
    names = hashlib.blake2b(digest_size=20)
    querysets = [_queryset(sample) for sample in _querysets(samples)]
    for queryset in querysets:
        queryset._require_cacheprofile()
        for table, disjunction in dnfs(queryset).items():
            conditions.setdefault(table, []).extend(disjunction)
        names.update(queryset._cache_key(prefix=False).encode())
    if lock is None:
        lock = any(queryset._cacheprofile["lock"] for queryset in querysets)
    return _Dependencies(conditions, tuple({queryset.db for queryset in querysets}), names.hexdigest(), lock)


def _queryset(sample: Any) -> Any:
    return cast(Any, type(sample)).objects.filter(pk=sample.pk) if isinstance(sample, models.Model) else sample


def _querysets(samples: list[Any]) -> list[Any]:
    """The samples for cacheops, with the tables of their many-to-many fields.

    `article.tags.add()` writes to the table of neither model, so the link table is a sample of its own.
    """
    querysets = []
    for sample in samples:
        model = _model_of(sample)
        # Not the default manager's, which may hide rows, or call the very function that is being built.
        whole = model._base_manager.all()
        querysets.append(whole if isinstance(sample, (type, BaseManager)) else sample)
        for through in (field.remote_field.through for field in model._meta.many_to_many):
            if through._meta.auto_created:
                links = through._default_manager.all()
                # cacheops asks for a rule of its own for each sample; the link table lives by its model's.
                links._cacheprofile = whole._cacheprofile.copy()
                querysets.append(links)
    return querysets


def _model_of(sample: Any) -> Any:
    model = getattr(sample, "model", None) or (sample if isinstance(sample, type) else type(sample))
    if not (isinstance(model, type) and issubclass(model, models.Model)):
        raise TypeError(
            f'cached_as got {sample!r}; give it the name of a rule, as in @cached_as("stats"), or models, '
            f"as in @cached_as(Article), in parentheses"
        )
    return model


class _Cached:
    """One function and its cache; built at the first call, when the models are loaded, wherever it is defined."""

    def __init__(
        self,
        function: Callable[..., Any],
        dependencies: Callable[[], _Dependencies],
        extra: Any,
        allowed: Bounds,
        name: str | None,
    ) -> None:
        ms = cast(int, allowed.timeout)
        self._function, self._keys = function, CallKeys(_supported(function), ms)
        self._dependencies, self._extra = dependencies, extra
        self._template: Place | None = None
        self._found: _Dependencies | None = None
        self._lock = False
        # A call of plain values is found near by without its key being made.
        is_simple = allowed.near and extra is None and not self._keys.encloses

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            # Of any database: what a function reads cannot be told from the samples it was given.
            is_off = not cacheops_settings.CACHEOPS_ENABLED or (name and switch.is_off_function(name))
            if is_off or transaction_states.any_is_dirty():
                return function(*args, **kwargs)
            call = self._simple_call(args) if is_simple and not kwargs else None
            if call is not None and (copy := near_copy(call)) is not None:
                cache_read.send(sender=None, func=function, hit=True)
                return copy.kept.value()
            place = self._place(args, kwargs)
            compute = functools.partial(function, *args, **kwargs)

            def apart() -> Callable[[], Any]:
                # Later, and in another thread: what the caller makes of its arguments meanwhile is not in their key.
                return functools.partial(function, *deepcopy(args), **deepcopy(kwargs))

            away = None if self._keys.encloses else apart  # nor what becomes of an enclosed variable
            value, copy = answer(place, compute, ms, lock=self._lock, dbs=connections, apart=away, func=function)
            if call is not None and copy is not None:
                near.keep_under(call, copy, copy.kept)
            return value

        self._allowed, self.wrapper = allowed, cast(Any, wrapper)

    def invalidated_by_hand(self) -> Any:
        """The wrapper, with `invalidate(*args, **kwargs)`."""

        def invalidate(*args: Any, **kwargs: Any) -> None:
            try:
                place = self._place(args, kwargs)
            except TypeError as error:
                where = f"{self._keys.place}.invalidate"
                hint = "give it the arguments of a call; of a method the instance first, by the class"
                raise TypeError(f"{where}: {error}; {hint}") from None
            forget(place)

        self.wrapper.invalidate = invalidate
        return self.wrapper

    def _place(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Place:
        template = self._template
        if template is None or not has_one_prefix():
            template = self._built()
        varied = self._extra(*args, **kwargs) if callable(self._extra) else self._extra
        return template.under(template.key + self._keys.key(args, kwargs, varied))

    def _built(self) -> Place:
        # Without a lock: two threads may both build it, and both are the same.
        found = self._found or self._dependencies()
        prefix = get_prefix(func=self._function, _cond_dnfs=found.conditions, dbs=list(found.dbs))
        template = Place(f"{prefix}as:{found.name}", prefix, found.conditions, self._allowed)
        self._found, self._lock, self._template = found, found.lock, template
        return template

    def _simple_call(self, args: tuple[Any, ...]) -> Hashable | None:
        if not has_one_prefix():
            return None
        parts: list[Any] = [self]
        for value in args:
            kind = type(value)
            if kind not in _SIMPLE:
                return None
            parts += [kind, value]
        return tuple(parts)


def _uncached(function: Callable[P, R]) -> Callable[P, R]:
    """With a faulty policy nothing is cached: the system checks are about to refuse it."""
    return function


def _supported(function: Any) -> types.FunctionType:
    """The function, or UnsupportedFunctionError saying what to decorate instead."""
    if isinstance(function, (staticmethod, classmethod)):
        kind = type(function).__name__
        place = f"{function.__module__}.{function.__qualname__}"
        raise UnsupportedFunctionError(f"{place} is a {kind}; put @{kind} above the caching decorator, not below it")
    if not isinstance(function, types.FunctionType):
        raise UnsupportedFunctionError(
            f"{function!r} is no function; decorate a function, or a method where its class defines it"
        )
    place = f"{function.__module__}.{function.__qualname__}"
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise UnsupportedFunctionError(
            f"{place} is async, and the ORM cache is not; cache the sync function that reads the database, and call "
            f"it with asgiref's sync_to_async"
        )
    if inspect.isgeneratorfunction(function):
        raise UnsupportedFunctionError(f"{place} is a generator, which cannot be stored; return a list")
    return function


def _call_rule(decorator: str, samples: tuple[Any, ...]) -> CallRule:
    name, policies = samples[0], conf.policies()
    if len(samples) > 1 or not isinstance(name, str):
        raise TypeError(f"{decorator} takes one name of a rule, or models; not both")
    if (rule := policies.functions.get(name)) is None:
        match = did_you_mean(name, policies.functions)
        remedy = f"did you mean {match}?" if match else "add it under `functions:`"
        if "." in name and not match:
            remedy += f"; for the model give the class, as in {decorator}({name.rpartition('.')[2]})"
        raise _problem(Origin(policies.file), "functions", f"there is no rule `{name}`", remedy)
    return rule


def _rule_of(sample: Any) -> ModelRule:
    if isinstance(sample, str):
        raise TypeError("cached_as takes one name of a rule, or models; not both")
    label, policies = _model_of(sample)._meta.label, conf.policies()
    if (rule := policies.rule_for(label)) is None:
        what = f"{label} has no rule, and only a model with a rule can be depended on"
        raise _problem(Origin(policies.file), "models", what, f"add `{label}: {{ops: []}}` to models")
    return rule


def _allowed_by(rule: CallRule | ModelRule) -> Bounds:
    near, ahead = rule.near.value, rule.refresh_ahead.value
    return Bounds(rule.timeout.value.ms, near.ms if near else 0, ahead.ms if ahead else 0)


def _least(allowed: Iterable[Bounds]) -> Bounds:
    return Bounds(*(min(values) for values in zip(*allowed, strict=True)))


def _shortened(timeout: Timeout | None, allowed: Bounds) -> Bounds:
    """A call site's timeout, never above the rule's."""
    if timeout is None:
        return allowed
    if isinstance(timeout, str):
        asked_ms = Duration.parse(timeout).ms
    elif isinstance(timeout, Duration):
        asked_ms = timeout.ms
    else:
        exact = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        asked_ms = int(exact) * 1_000
        if isinstance(timeout, bool) or exact * 1_000 != asked_ms or asked_ms <= 0:
            raise ValueError(
                f"timeout={timeout!r}: give whole seconds, at least 1; to cache nothing, drop the decorator"
            )
    return allowed._replace(timeout=min(asked_ms, cast(int, allowed.timeout)))


def _problem(origin: Origin, path: str, what: str, remedy: str) -> PolicyError:
    return PolicyError([Problem(origin, path, what, remedy)])
