"""A sound policy against the installed models: what does not fit them, and what costs more than it seems to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from django.apps import apps
from django.db.models import Field, Model
from django.db.models.manager import ManagerDescriptor

from cachepolicy.policies.model import CallRule, ModelRule, PolicySet
from cachepolicy.policies.problems import Origin, Problem, did_you_mean

__all__ = [
    "concrete",
    "dependencies",
    "installed_names",
    "invalidates_by_row",
    "misfit",
    "model_problems",
    "refuses_writes",
    "relations",
    "relatives",
    "table_children",
    "table_parents",
]


def model_problems(policies: PolicySet) -> list[Problem]:
    """What in a sound policy, and in the overlay of each environment, does not fit the installed models; once each."""
    found = {problem for each in (policies, *policies.overlaid.values()) for problem in _misfits(each)}
    return sorted(found)


def _misfits(policies: PolicySet) -> Iterator[Problem]:
    ruled = [*_ruled(policies)]
    yield from _unknown_models(policies)
    yield from _multi_table(ruled)
    yield from _everything(policies)
    yield from _coarse_relations(policies, ruled)
    yield from _empty_promises(policies, ruled)
    yield from _managers(policies)
    yield from _no_rule(policies)


def _unknown_models(policies: PolicySet) -> Iterator[Problem]:
    named = [(rule.pattern, rule.origin, f"models.{rule.pattern}") for rule in policies.models.values()]
    for section, calls in policies.calls.items():
        for call in calls.values():
            path = f"{section}.{call.name}.depends_on"
            named += [(label, call.depends_on.origin, path) for label in call.depends_on.value]
    names = installed_names()
    for pattern, origin, path in named:
        if unfit := misfit(pattern, names):
            code, what, remedy = unfit
            yield Problem(origin, path, what, remedy, code)


class Names(NamedTuple):
    """The labels of the installed apps and models, by their folded form."""

    apps: Mapping[str, str]
    models: Mapping[str, str]


def installed_names() -> Names:
    """What a pattern may name; asked for once, since a policy has hundreds of patterns."""
    return Names(
        {config.label.lower(): config.label for config in apps.get_app_configs()},
        {model._meta.label_lower: model._meta.label for model in _installed()},
    )


def misfit(pattern: str, names: Names) -> tuple[str, str, str] | None:
    """The code of the check that finds no installed app or model for a pattern, what is wrong and the remedy."""
    app, _, model = pattern.partition(".")
    known_app = app.lower() in names.apps
    if pattern == "*.*" or (model == "*" and known_app):
        return None
    if not known_app:
        match = did_you_mean(app, names.apps.values())
        remedy = f"did you mean {match}.{model}?" if match else "check INSTALLED_APPS, or remove the rule"
        return "cachepolicy.E010", f"no such app `{app}`", remedy
    if pattern.lower() in names.models:
        return None
    # By the name alone: the app, which is right, would make any short name look alike.
    own = {
        label.partition(".")[2]: label for folded, label in names.models.items() if folded.startswith(f"{app.lower()}.")
    }
    match = did_you_mean(model, own)
    remedy = f"did you mean {own[match]}?" if match else f"the app has {', '.join(sorted(own.values())) or 'no models'}"
    return "cachepolicy.E011", "no such model", remedy


def _installed() -> list[type[Model]]:
    return [*apps.get_models(include_auto_created=True)]


_Ruled: TypeAlias = "list[tuple[type[Model], ModelRule]]"


def _ruled(policies: PolicySet) -> Iterator[tuple[type[Model], ModelRule]]:
    """The installed models that have a rule, with it."""
    for model in _installed():
        if (rule := policies.rule_for(model._meta.label)) is not None:
            yield model, rule


def _multi_table(ruled: _Ruled) -> Iterator[Problem]:
    for model, rule in ruled:
        if not rule.ops.value:
            continue
        label = model._meta.label
        inheriting = [(label, parent._meta.label) for parent in table_parents(model)]
        inheriting += [(child._meta.label, label) for child in table_children(model)]
        write = f"add `{label}: {{ops: []}}`" if "*" in rule.pattern else "write `ops: []` in this rule"
        for heir, parent in inheriting:
            what = f"{heir} inherits the table of {parent}: each write to it invalidates all cached reads of both"
            remedy = f"{write} where {heir} is often written, or silence cachepolicy.W012"
            yield Problem(rule.origin, f"models.{rule.pattern}", what, remedy, "cachepolicy.W012")


def table_parents(model: type[Model]) -> list[type[Model]]:
    """The models whose tables hold a part of this model's rows, by multi-table inheritance."""
    options = concrete(model)._meta
    return [*options.get_parent_list()] if options.parents else []


def table_children(model: type[Model]) -> list[type[Model]]:
    """The models whose rows have a part in this model's table, by multi-table inheritance."""
    table = concrete(model)
    if not table.__subclasses__():
        return []  # nearly every model: asked for each rule in each environment, at every start
    return [
        child for child in _installed() if issubclass(child, table) and child is not table and not child._meta.proxy
    ]


def dependencies(call: CallRule) -> list[type[Model]]:
    """The installed models that a function depends on."""
    by_label = {model._meta.label_lower: model for model in _installed()}
    return [by_label[label.lower()] for label in call.depends_on.value if label.lower() in by_label]


def relatives(models: list[type[Model]]) -> list[type[Model]]:
    """The models besides through which these models' rows are written too, by multi-table inheritance."""
    found = {relative for model in models for relative in (*table_parents(model), *table_children(model))}
    return sorted(found - set(map(concrete, models)), key=lambda model: model._meta.label)


def _everything(policies: PolicySet) -> Iterator[Problem]:
    rule = policies.models.get("*.*")
    if isinstance(rule, ModelRule) and rule.ops.value:
        what = f"this caches {', '.join(sorted(rule.ops.value))} of every model, sessions and permissions too"
        remedy = "write ops: [] here, which keeps invalidation, and name the models to cache"
        yield Problem(rule.origin, "models.*.*", what, remedy, "cachepolicy.W013")


def _coarse_relations(policies: PolicySet, ruled: _Ruled) -> Iterator[Problem]:
    for model, rule in ruled:
        for relation, other in relations(model) if rule.ops.value else ():
            if invalidates_by_row(policies, other):
                continue
            label, won = other._meta.label, policies.match(other._meta.label)
            state, remedy = "has no rule", f"add `{label}: {{ops: []}}`, and its writes invalidate by row"
            if won is not None:
                state = "is off"
                remedy = (
                    f"replace its `off` in line {won.origin.line} by {{ops: []}}, and its writes invalidate by row, "
                    f"or silence cachepolicy.W014"
                )
            what = (
                f"{model._meta.label}.{relation} leads to {label}, which {state}: each write to it invalidates all "
                f"cached reads that join its table"
            )
            yield Problem(rule.origin, f"models.{rule.pattern}", what, remedy, "cachepolicy.W014")


def relations(model: type[Model]) -> Iterator[tuple[str, type[Model]]]:
    """The fields of a model that lead to other tables, with the models there; explicit through tables too."""
    options = model._meta
    # `fields` takes Django a while at first, and at every start each model is asked.
    fields = options.fields if options.parents else options.local_fields
    for field in [*fields, *(options.many_to_many if options.parents else options.local_many_to_many)]:
        assert isinstance(field, Field)
        other = field.related_model
        if not isinstance(other, type) or concrete(other) is concrete(model):
            continue
        yield field.name, concrete(other)
        through = getattr(field.remote_field, "through", None)
        if through is not None and not through._meta.auto_created:
            yield field.name, through


def invalidates_by_row(policies: PolicySet, model: type[Model]) -> bool:
    """Whether cacheops hears of each row that is written: a rule of any model on the table is enough.

    Writes to a table without one invalidate it as a whole.
    """
    # Content types are written by migrations alone.
    return model._meta.db_table == "django_content_type" or any(_rules_of_family(policies, model))


def _rules_of_family(policies: PolicySet, model: type[Model]) -> Iterator[ModelRule]:
    """The rules of the model, its proxies, and its parents and children by multi-table inheritance; as in cacheops."""
    tables = (concrete(model), *table_parents(model))
    labels = [model._meta.label, *(other._meta.label for other in _installed() if issubclass(other, tables))]
    return (rule for label in labels if (rule := policies.rule_for(label)) is not None)


def concrete(model: type[Model]) -> type[Model]:
    """The model that has the table: the model itself, unless it is a proxy."""
    return model._meta.concrete_model or model


def refuses_writes(policies: PolicySet, model: type[Model]) -> bool:
    """Whether the ORM refuses writes to a model: the rule of the model that has the table decides."""
    rule = policies.rule_for(concrete(model)._meta.label)
    return rule is not None and rule.immutable.value


def _empty_promises(policies: PolicySet, ruled: _Ruled) -> Iterator[Problem]:
    for model, rule in ruled:
        if rule.immutable.value and not refuses_writes(policies, model):
            label, table = model._meta.label, concrete(model)._meta.label
            what = f"{label} is a proxy of {table}, which is not immutable: its rows do change"
            remedy = f"write `immutable: true` for {table} too, or leave it out for {label}"
            yield Problem(rule.immutable.origin, f"models.{rule.pattern}", what, remedy, "cachepolicy.E015")


def _managers(policies: PolicySet) -> Iterator[Problem]:
    for model in _installed():
        # The map takes Django a while at first, and is to tell of a manager that has another name.
        if isinstance(vars(model).get("objects"), ManagerDescriptor) or "objects" in model._meta.managers_map:
            continue
        rule = next(_rules_of_family(policies, model), None)
        if rule is None:
            continue
        what = f"{model._meta.label} has no manager `objects`, so that save() raises AttributeError in cacheops"
        remedy = f"add `objects = models.Manager()` to the model, or write `{concrete(model)._meta.label}: off`"
        yield Problem(rule.origin, f"models.{rule.pattern}", what, remedy, "cachepolicy.E016")


def _no_rule(policies: PolicySet) -> Iterator[Problem]:
    if not policies.models:
        remedy = "write rules under `models:`; `manage.py cachepolicy init -` prints a start"
        yield Problem(Origin(policies.file), "", "the policy has no rule", remedy, "cachepolicy.W024")
