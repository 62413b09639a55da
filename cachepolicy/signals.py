"""What the runtime tells: fills and invalidations, for metrics and for the consistency kit's recorder."""

from __future__ import annotations

from typing import Final

import django.dispatch

__all__ = ["fill", "invalidation"]

# Arguments: key (text), stored (bool; False where it was refused or Redis failed).
fill: Final = django.dispatch.Signal()
# Of one row's or object's change; invalidate_model() and invalidate_all() say nothing here.
# Arguments: table (text), sent (bool; False where Redis failed, so that cached reads wait for their timeout).
invalidation: Final = django.dispatch.Signal()
