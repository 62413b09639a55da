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
from cachepolicy.policies.problems import Origin, Problem, did_you_mean
from cachepolicy.server import server_problems

__all__ = ["check_policies", "model_problems", "register_checks", "relations", "setup_problems"]

_DOOR: Final = 'globals().update(cachepolicy.settings(BASE_DIR / "policies.yaml"))'


def register_checks() -> None:
    """Register every check; doing it twice changes nothing."""
    checks.register(check_policies, "cachepolicy")
    checks.register(check_server, checks.Tags.database)
    checks.register(check_server_deploy, "cachepolicy", deploy=True)


def check_policies(**_: Any) -> list[checks.CheckMessage]:
    """The policy file, its fit with the installed models, and the settings; all at once."""
    if conf.problems():
        return [_message(problem) for problem in conf.problems()]
    fit = model_problems(conf.policies()) if conf.loaded() else []
    return [_message(problem) for problem in [*fit, *setup_problems()]]


def model_problems(policies: PolicySet) -> list[Problem]:
    """What in a sound policy does not fit the installed models."""
    return [
        *sorted(_unknown_models(policies)),
        *sorted(_multi_table(policies)),
        *sorted(_everything(policies)),
        *sorted(set(_unseen_relations(policies))),
        *_no_rule(policies),
    ]


def setup_problems() -> list[Problem]:
    """What in the settings and the installed packages keeps the policy from being in force."""
    if not conf.loaded():
        message = "cachepolicy is installed, but no policy is loaded"
        return [Problem(Origin("settings.py"), "", message, f"add to settings.py: {_DOOR}", "cachepolicy.E022")]
    return [*_cacheops(), *_by_hand(conf.policies())]


def check_server(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """The Redis server, with `check --database …` and before migrations."""
    return [checks.Warning(**problem) for problem in server_problems()] if databases and conf.loaded() else []


def check_server_deploy(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """The Redis server, with `check --deploy`; said once where `--database` asks for it as well."""
    return [] if databases or not conf.loaded() else [checks.Warning(**problem) for problem in server_problems()]


def _message(problem: Problem) -> checks.CheckMessage:
    kind = checks.Warning if problem.is_warning else checks.Error
    what = f"{problem.path}: {problem.what}" if problem.path else problem.what
    return kind(what, hint=problem.remedy, obj=str(problem.origin), id=problem.code)


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
            # By the name alone: the app, which is right, would make any short name look alike.
            own = {label.partition(".")[2]: label for label in models if label.lower().startswith(f"{app.lower()}.")}
            match = did_you_mean(model, own)
            remedy = (
                f"did you mean {own[match]}?"
                if match
                else f"the app has {', '.join(sorted(own.values())) or 'no models'}"
            )
            yield Problem(origin, path, "no such model", remedy, "cachepolicy.E011")


def _ruled(policies: PolicySet) -> Iterator[tuple[type[Model], ModelRule]]:
    """The installed models that have a rule, with it."""
    for model in apps.get_models(include_auto_created=True):
        if (rule := policies.rule_for(model._meta.label)) is not None:
            yield model, rule


def _multi_table(policies: PolicySet) -> Iterator[Problem]:
    for model, rule in _ruled(policies):
        label = model._meta.label
        if not rule.ops.value or model._meta.proxy:
            continue
        whats = [
            f"{label} inherits the table of {parent._meta.label}, and cacheops misses writes to the parent's part"
            for parent in [*model._meta.parents][:1]
        ] + [
            f"{child._meta.label} inherits the table of {label}, and cacheops misses what is written through it"
            for child in apps.get_models()
            if model in child._meta.parents and not child._meta.proxy
        ]
        for what in whats:
            yield Problem(rule.origin, f"models.{rule.pattern}", what, f"write `{label}: off`", "cachepolicy.E012")


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


def _no_rule(policies: PolicySet) -> Iterator[Problem]:
    if not policies.models:
        remedy = "write rules under `models:`; `manage.py cachepolicy init -` prints a start"
        yield Problem(Origin(policies.file), "", "the policy has no rule", remedy, "cachepolicy.W024")


def _cacheops() -> Iterator[Problem]:
    names = [config.name for config in apps.get_app_configs()]
    if "cacheops" not in names:
        what, remedy = "cacheops is not installed", 'add "cacheops" to INSTALLED_APPS, before "cachepolicy"'
        yield Problem(Origin("INSTALLED_APPS"), "", what, remedy, "cachepolicy.E020")
        return
    if names.index("cacheops") > names.index("cachepolicy"):
        # Both replace QuerySet.get; ours must be the outer one, or local_get would mix up databases.
        what, remedy = "cachepolicy stands before cacheops", 'put "cacheops" before "cachepolicy"'
        yield Problem(Origin("INSTALLED_APPS"), "", what, remedy, "cachepolicy.E025")
    import cacheops

    if cacheops.__version__ != CACHEOPS_VERSION:
        what = f"django-cacheops {cacheops.__version__} is installed; cachepolicy is built on {CACHEOPS_VERSION}"
        remedy = f"pip install django-cacheops=={CACHEOPS_VERSION}"
        yield Problem(Origin("django-cacheops"), "", what, remedy, "cachepolicy.E021")


def _by_hand(policies: PolicySet) -> Iterator[Problem]:
    compiled = compile_policies(policies)
    changed = {name for name, value in compiled.items() if getattr(settings, name, None) != value}
    for name in sorted(changed | set(conf.replaced())):
        remedy = "remove it from settings.py"
        if name in ("CACHEOPS", "CACHEOPS_DEFAULTS"):
            remedy += f"; without the line that loads {policies.file}, `manage.py cachepolicy init` makes rules of it"
        what = f"{name} is set by hand, beside {policies.file}"
        yield Problem(Origin(f"settings.{name}"), "", what, remedy, "cachepolicy.E023")
