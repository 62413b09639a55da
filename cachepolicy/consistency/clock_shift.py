"""Time travel for expiries: let a 60 s timeout pass in a millisecond, on a real server, without a sleep."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, cast

import redis

from cachepolicy.exceptions import CachePolicyError

_KEYS_PER_SCRIPT = 1000  # about 3 ms: a script blocks every other client
_SCAN_COUNT = 1000

# A key whose new expiry has passed is deleted by PEXPIREAT itself. -1 is no expiry, -2 no such key.
_SHIFT = """
local shifted = 0
for _, key in ipairs(KEYS) do
    local expiry = redis.call('PEXPIRETIME', key)
    if expiry >= 0 then
        redis.call('PEXPIREAT', key, string.format('%.0f', expiry - tonumber(ARGV[1])))
        shifted = shifted + 1
    end
end
return shifted
"""


class ClockShiftError(CachePolicyError):
    """The server cannot tell or set the instant at which a key expires."""


def shift_expiries(client: redis.Redis, ms: int) -> int:
    """Bring every key's expiry in the client's database `ms` milliseconds nearer; return how many keys had one.

    Exact to 1 ms: to the keys it is as if `ms` had passed. A key that would have expired by then is deleted.
    Redis' TIME does not move, and neither do expiries of fields inside a hash. Call it while nobody writes: a key
    that is set meanwhile may be shifted or not. Raises ValueError unless ms > 0, ClockShiftError on Redis before 7.
    """
    if ms <= 0:
        raise ValueError(f"shift_expiries: ms must be greater than 0, not {ms}: time goes forward only")
    keys = iter(_all_keys(client))
    script = client.register_script(_SHIFT)
    shifted = 0
    try:
        while batch := list(islice(keys, _KEYS_PER_SCRIPT)):
            shifted += int(cast(int, script(keys=batch, args=[ms])))
    except redis.ResponseError as error:
        if "unknown" not in str(error).lower():
            raise
        raise ClockShiftError(
            "shift_expiries: this server has no PEXPIRETIME; it takes Redis 7 or later, or Valkey"
        ) from error
    return shifted


def _all_keys(client: redis.Redis) -> Iterable[bytes]:
    # SCAN may return a key twice while the table is resized, and a second shift would be wrong: hence a set, and
    # the whole of it before the first shift deletes anything. Bytes even if the client decodes: keys are binary.
    found: set[bytes] = set()
    cursor = 0
    while True:
        # redis-py leaves execute_command untyped
        cursor, keys = cast(Any, client).execute_command("SCAN", cursor, "COUNT", _SCAN_COUNT, NEVER_DECODE=True)
        found.update(keys)
        if cursor == 0:
            return found
