"""How far Redis' clock is ahead of ours: an interval, so that ages err upwards only.

Cristian's algorithm (Distributed Computing, 1989): TIME was read between the send and the receipt of its command, which
bounds the offset from both sides; measurements are intersected, and widened by what two clocks may drift apart.
"""

from __future__ import annotations

import threading
from typing import Final

from cachepolicy import clock

__all__ = ["RedisClock", "drift_ns"]

# Quartz drifts 100 ppm at worst; NTP slews by 500 at most, seldom.
_DRIFT_PPM: Final = 300
_MEASURED_EVERY_NS: Final = 30_000_000_000


class RedisClock:
    """The offset of one server's TIME from `clock.now_ns`, in ns. A clock found set back is told by `set_back`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._low_ns = self._high_ns = 0
        self._measured_ns: int | None = None
        self.set_back = False

    def is_due(self) -> bool:
        """Whether it was never measured, or too long ago, or was found set back."""
        return self.set_back or self._measured_ns is None or clock.now_ns() - self._measured_ns > _MEASURED_EVERY_NS

    def observe(self, sent_ns: int, received_ns: int, redis_us: int, *, anew: bool = False) -> None:
        """Take in a TIME whose command was sent and answered at these instants.

        `anew` where nothing is left that was stored before: the clock is then gone by as it is now.
        """
        # TIME cuts off what is below a microsecond, and the clocks drift apart while the reply is on its way, too.
        underway_ns = drift_ns(received_ns - sent_ns)
        low_ns = redis_us * 1000 - received_ns - underway_ns
        high_ns = redis_us * 1000 + 1000 - sent_ns + underway_ns
        with self._lock:
            if anew or self._measured_ns is None:
                self.set_back = False
                self._low_ns, self._high_ns = low_ns, high_ns
            else:
                drifted_ns = self._drift_ns(received_ns)
                before_low_ns, before_high_ns = self._low_ns - drifted_ns, self._high_ns + drifted_ns
                if low_ns > before_high_ns:
                    self._low_ns, self._high_ns = low_ns, high_ns  # set forward: everything is older than we thought
                elif high_ns < before_low_ns:
                    # Set back: births by the new clock, ages by the old one, until all that was stored before is void.
                    self._low_ns, self.set_back = low_ns, True
                else:
                    self._low_ns = max(low_ns, before_low_ns) if not self.set_back else low_ns
                    self._high_ns = min(high_ns, before_high_ns) if not self.set_back else before_high_ns
            self._measured_ns = received_ns

    def now_us(self) -> int:
        """Redis' time now, or a little later: what an age is measured by."""
        now_ns = clock.now_ns()
        return (now_ns + self._high_ns + self._drift_ns(now_ns)) // 1000

    def earliest_ns(self, now_ns: int) -> int:
        """Redis' time at an instant that is now, or a little earlier: what a birth is told by."""
        return now_ns + self._low_ns - self._drift_ns(now_ns)

    def _drift_ns(self, now_ns: int) -> int:
        return drift_ns(now_ns - (self._measured_ns or 0))


def drift_ns(elapsed_ns: int) -> int:
    """How far two clocks may drift apart in a time, rounded up."""
    return max(0, elapsed_ns) * _DRIFT_PPM // 1_000_000 + 1
