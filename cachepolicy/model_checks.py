"""A sound policy against the installed models: what does not fit them, and what cacheops would miss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from django.apps import apps
from django.db.models import Field, Model

from cachepolicy.policies.model import CallRule, ModelRule, PolicySet
from cachepolicy.policies.problems import Origin, Problem, did_you_mean

__all__ = [
    "concrete",
    "dependencies",
    "installed_names",
    "misfit",
    "model_problems",
    "refuses_writes",
    "relations",
    "table_children",
    "table_parents",
    "unnamed_relatives",
    "writes_invalidate",
]


def model_problems(policies: PolicySet) -> list[Problem]:
    """What in a sound policy, and in the overlay of each environment, does not fit the installed models; once each."""
    found = {problem for each in (policies, *policies.overlaid.values()) for problem in _misfits(each)}
    return sorted(found)


def _misfits(policies: PolicySet) -> Iterator[Problem]:
    yield from _unknown_models(policies)
    yield from _multi_table(policies)
    yield from _everything(policies)
    yield from _unseen_relations(policies)
    yield from _empty_promises(policies)
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


def _ruled(policies: PolicySet) -> Iterator[tuple[type[Model], ModelRule]]:
    """The installed models that have a rule, with it."""
    for model in _installed():
        if (rule := policies.rule_for(model._meta.label)) is not None:
            yield model, rule


def _multi_table(policies: PolicySet) -> Iterator[Problem]:
    accept = "accept that these changes show within the timeout and silence cachepolicy.W012"
    for model, rule in _ruled(policies):
        if not rule.ops.value:
            continue
        label = model._meta.label
        whats = [
            f"{label} inherits the table of {parent._meta.label}, and cacheops misses writes to the parent's part"
            for parent in table_parents(model)
        ] + [
            f"{child._meta.label} inherits the table of {label}, and cacheops misses what is written through it"
            for child in table_children(model)
        ]
        write = f"add `{label}: {{ops: []}}`" if "*" in rule.pattern else "write `ops: []` in this rule"
        for what in whats:
            remedy = f"{write} (its writes still invalidate), or {accept}"
            yield Problem(rule.origin, f"models.{rule.pattern}", what, remedy, "cachepolicy.W012")
    for call in policies.functions.values():
        for label, missing in unnamed_relatives(call):
            others = ", ".join(missing)
            what = (
                f"{label} shares rows with {others} by multi-table inheritance, and cacheops misses writes through it"
            )
            remedy = f"add {others} to depends_on, or {accept}"
            yield Problem(call.depends_on.origin, f"functions.{call.name}.depends_on", what, remedy, "cachepolicy.W012")


def table_parents(model: type[Model]) -> list[type[Model]]:
    """The models whose tables hold a part of this model's rows, by multi-table inheritance."""
    return [*concrete(model)._meta.get_parent_list()]


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


def unnamed_relatives(call: CallRule) -> Iterator[tuple[str, list[str]]]:
    """Each model a function depends on, with those through which its rows are written too, and which it leaves out."""
    named = dependencies(call)
    for model in named:
        relatives = {*table_parents(model), *table_children(model)} - set(map(concrete, named))
        if relatives:
            yield model._meta.label, sorted(relative._meta.label for relative in relatives)


def _everything(policies: PolicySet) -> Iterator[Problem]:
    rule = policies.models.get("*.*")
    if isinstance(rule, ModelRule) and rule.ops.value:
        what = f"this caches {', '.join(sorted(rule.ops.value))} of every model, sessions and permissions too"
        remedy = "write ops: [] here, which keeps invalidation, and name the models to cache"
        yield Problem(rule.origin, "models.*.*", what, remedy, "cachepolicy.W013")


def _unseen_relations(policies: PolicySet) -> Iterator[Problem]:
    for model, rule in _ruled(policies):
        for relation, other in relations(model) if rule.ops.value else ():
            if writes_invalidate(policies, other):
                continue
            label, won = other._meta.label, policies.match(other._meta.label)
            state, remedy = "has no rule", f"add `{label}: {{ops: []}}`"
            if won is not None:
                state = "is off"
                remedy = f"replace its `off` in line {won.origin.line} by {{ops: []}}, or silence cachepolicy.W014"
            what = (
                f"{model._meta.label}.{relation} leads to {label}, which {state}: its changes go unseen by cached joins"
            )
            yield Problem(rule.origin, f"models.{rule.pattern}", what, remedy, "cachepolicy.W014")


def relations(model: type[Model]) -> Iterator[tuple[str, type[Model]]]:
    """The fields of a model that lead to other tables, with the models there; explicit through tables too."""
    for field in [*model._meta.fields, *model._meta.many_to_many]:
        assert isinstance(field, Field)
        other = field.related_model
        if not isinstance(other, type) or concrete(other) is concrete(model):
            continue
        yield field.name, concrete(other)
        through = getattr(field.remote_field, "through", None)
        if through is not None and not through._meta.auto_created:
            yield field.name, through


def writes_invalidate(policies: PolicySet, model: type[Model]) -> bool:
    """Whether cacheops sees the writes to a model's table: a rule of any model on it is enough."""
    # cacheops leaves content types out of its invalidation: they never change.
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


def _empty_promises(policies: PolicySet) -> Iterator[Problem]:
    for model, rule in _ruled(policies):
        if rule.immutable.value and not refuses_writes(policies, model):
            label, table = model._meta.label, concrete(model)._meta.label
            what = f"{label} is a proxy of {table}, which is not immutable: its rows do change"
            remedy = f"write `immutable: true` for {table} too, or leave it out for {label}"
            yield Problem(rule.immutable.origin, f"models.{rule.pattern}", what, remedy, "cachepolicy.E015")


def _managers(policies: PolicySet) -> Iterator[Problem]:
    for model in _installed():
        if "objects" in model._meta.managers_map:
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
