"""What the runtime tells: reads, fills and invalidations, for metrics and for the consistency kit's recorder."""

from __future__ import annotations

from typing import Final

import django.dispatch

__all__ = ["fill", "invalidation", "read"]

# Arguments: key (text), hit (bool), age_ms (float; None for a miss).
read: Final = django.dispatch.Signal()
# Arguments: key (text), stored (bool), reason (text: why it was not stored, empty where it was).
fill: Final = django.dispatch.Signal()
# Arguments: table (text), sent (bool; False where Redis failed: it is journalled, and sent before this process serves
# a hit again), replayed (bool; True when a journalled one arrives).
invalidation: Final = django.dispatch.Signal()
