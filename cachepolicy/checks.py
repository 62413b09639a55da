"""Django's system checks: the file's problems, the policy against the installed models, the settings, the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db.models import Field, Model

from cachepolicy import conf
from cachepolicy.compiler import CACHEOPS_VERSION, compile_policies
from cachepolicy.policies.model import ModelRule, PolicySet
from cachepolicy.policies.problems import Problem, did_you_mean
from cachepolicy.server import server_problems

__all__ = ["check_policies", "register_checks", "relations"]

_DOOR: Final = 'globals().update(cachepolicy.settings(BASE_DIR / "policies.yaml"))'


def register_checks() -> None:
    """Register every check; doing it twice changes nothing."""
    checks.register(check_policies, "cachepolicy")
    checks.register(check_server, checks.Tags.database)
    checks.register(check_server_deploy, "cachepolicy", deploy=True)


def check_policies(**_: Any) -> list[checks.CheckMessage]:
    """The policy file, its fit with the installed models, and the settings; all at once."""
    if not conf.loaded():
        message = "cachepolicy is installed, but no policy is loaded"
        return [checks.Error(message, hint=f"add to settings.py: {_DOOR}", obj="settings.py", id="cachepolicy.E022")]
    if conf.problems():
        return [_message(checks.Error, problem) for problem in conf.problems()]
    policies = conf.policies()
    return [
        *(_message(checks.Error, problem) for problem in sorted(_unknown_models(policies))),
        *(_message(checks.Error, problem) for problem in sorted(_multi_table(policies))),
        *(_message(checks.Warning, problem) for problem in sorted(_everything(policies))),
        *(_message(checks.Warning, problem) for problem in sorted(set(_unseen_relations(policies)))),
        *_no_rule(policies),
        *_cacheops(),
        *_by_hand(policies),
    ]


def check_server(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """The Redis server, with `check --database …` and before migrations."""
    return [checks.Warning(**problem) for problem in server_problems()] if databases and conf.loaded() else []


def check_server_deploy(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """The Redis server, with `check --deploy`; said once where `--database` asks for it as well."""
    return [] if databases or not conf.loaded() else [checks.Warning(**problem) for problem in server_problems()]


def _message(kind: type[checks.CheckMessage], problem: Problem) -> checks.CheckMessage:
    what = f"{problem.path}: {problem.what}" if problem.path else problem.what
    return kind(what, hint=problem.remedy, obj=str(problem.origin), id=problem.code)  # type: ignore[call-arg]


def _unknown_models(policies: PolicySet) -> Iterator[Problem]:
    labels = {config.label for config in apps.get_app_configs()}
    models = {model._meta.label for model in apps.get_models(include_auto_created=True)}
    named = [(rule.pattern, rule.origin, f"models.{rule.pattern}") for rule in policies.models.values()]
    for section, calls in policies.calls.items():
        for call in calls.values():
            path = f"{section}.{call.name}.depends_on"
            named += [(label, call.depends_on.origin, path) for label in call.depends_on.value]
    for pattern, origin, path in named:
        app, _, model = pattern.partition(".")
        known_app = app.lower() in {label.lower() for label in labels}
        if pattern == "*.*" or (model == "*" and known_app):
            continue
        if not known_app:
            match = did_you_mean(app, labels)
            remedy = f"did you mean {match}.{model}?" if match else "check INSTALLED_APPS, or remove the rule"
            yield Problem(origin, path, f"no such app `{app}`", remedy, "cachepolicy.E010")
        elif pattern.lower() not in {label.lower() for label in models}:
            own = [label for label in models if label.lower().startswith(f"{app.lower()}.")]
            match = did_you_mean(pattern, own or models)
            remedy = f"did you mean {match}?" if match else f"the app has {', '.join(sorted(own)) or 'no models'}"
            yield Problem(origin, path, "no such model", remedy, "cachepolicy.E011")


def _ruled(policies: PolicySet) -> Iterator[tuple[type[Model], ModelRule]]:
    """The installed models that have a rule, with it."""
    for model in apps.get_models(include_auto_created=True):
        if (rule := policies.rule_for(model._meta.label)) is not None:
            yield model, rule


def _multi_table(policies: PolicySet) -> Iterator[Problem]:
    for model, rule in _ruled(policies):
        parents = [parent for parent in model._meta.parents if not model._meta.proxy]
        if parents and rule.ops.value:
            what = (
                f"{model._meta.label} inherits the table of {parents[0]._meta.label}, "
                f"and cacheops misses writes to the parent's part"
            )
            remedy = f"write `{model._meta.label}: off`"
            yield Problem(rule.origin, f"models.{rule.pattern}", what, remedy, "cachepolicy.E012")


def _everything(policies: PolicySet) -> Iterator[Problem]:
    rule = policies.models.get("*.*")
    if isinstance(rule, ModelRule) and rule.ops.value:
        what = f"this caches {', '.join(sorted(rule.ops.value))} of every model, sessions and permissions too"
        remedy = "write ops: [] here, which keeps invalidation, and name the models to cache"
        yield Problem(rule.origin, "models.*.*", what, remedy, "cachepolicy.W013")


def _unseen_relations(policies: PolicySet) -> Iterator[Problem]:
    for model, rule in _ruled(policies):
        if not rule.ops.value:
            continue
        for relation, other in relations(model):
            # cacheops leaves content types out of its invalidation: they never change.
            if other._meta.db_table == "django_content_type" or policies.rule_for(other._meta.label):
                continue
            what = (
                f"{model._meta.label}.{relation} leads to {other._meta.label}, which has no rule: "
                f"its changes go unseen by cached joins"
            )
            remedy = f"add `{other._meta.label}: {{ops: []}}`"
            yield Problem(rule.origin, f"models.{rule.pattern}", what, remedy, "cachepolicy.W014")


def relations(model: type[Model]) -> Iterator[tuple[str, type[Model]]]:
    """The fields of a model that lead to other tables, with the models there; explicit through tables too."""
    for field in [*model._meta.fields, *model._meta.many_to_many]:
        assert isinstance(field, Field)
        other = field.related_model
        if not isinstance(other, type) or other._meta.concrete_model is model._meta.concrete_model:
            continue
        yield field.name, other
        through = getattr(field.remote_field, "through", None)
        if through is not None and not through._meta.auto_created:
            yield field.name, through


def _no_rule(policies: PolicySet) -> Iterator[checks.CheckMessage]:
    if not policies.models:
        hint = "write rules under `models:`; `manage.py cachepolicy init -` prints a start"
        yield checks.Warning("the policy has no rule", hint=hint, obj=policies.file, id="cachepolicy.W024")


def _cacheops() -> Iterator[checks.CheckMessage]:
    if not apps.is_installed("cacheops"):
        hint = 'add "cacheops" to INSTALLED_APPS, before "cachepolicy"'
        yield checks.Error("cacheops is not installed", hint=hint, obj="INSTALLED_APPS", id="cachepolicy.E020")
        return
    import cacheops

    if cacheops.__version__ != CACHEOPS_VERSION:
        message = f"django-cacheops {cacheops.__version__} is installed; cachepolicy is built on {CACHEOPS_VERSION}"
        hint = f"pip install django-cacheops=={CACHEOPS_VERSION}"
        yield checks.Error(message, hint=hint, obj="django-cacheops", id="cachepolicy.E021")


def _by_hand(policies: PolicySet) -> Iterator[checks.CheckMessage]:
    compiled = compile_policies(policies)
    changed = {name for name, value in compiled.items() if getattr(settings, name, None) != value}
    for name in sorted(changed | set(conf.replaced())):
        message = f"{name} is set by hand, beside {policies.file}"
        hint = f"remove it from settings.py; `manage.py cachepolicy init` turns a CACHEOPS dict into {policies.file}"
        yield checks.Error(message, hint=hint, obj=f"settings.{name}", id="cachepolicy.E023")
