"""The settings that are asked for all the time follow the policies in force."""

from __future__ import annotations

from typing import Any

from cachepolicy import conf
from cachepolicy.policies.loader import parse_policies


def test_the_lag_of_a_database_is_that_of_the_policies_in_force(settings: Any) -> None:
    assert conf.max_lag_ns("replica") == 0
    for max_lag, ns in (("5s", 5_000_000_000), ("1ms", 1_000_000)):
        settings.CACHEPOLICY = parse_policies(f"version: 1\ndatabases: {{replica: {{max_lag: {max_lag}}}}}".encode())
        assert (conf.max_lag_ns("replica"), conf.max_lag_ns("default")) == (ns, 0)


def test_the_near_tier_keeps_10_000_values_in_64_mib_unless_the_settings_say_otherwise(settings: Any) -> None:
    assert (conf.near_entries(), conf.near_bytes()) == (10_000, 67_108_864)
    settings.CACHEPOLICY_NEAR_ENTRIES, settings.CACHEPOLICY_NEAR_BYTES = 5, 6
    assert (conf.near_entries(), conf.near_bytes()) == (5, 6)


def test_without_policies_no_database_lags(settings: Any) -> None:
    del settings.CACHEPOLICY
    assert conf.max_lag_ns("replica") == 0
