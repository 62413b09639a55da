"""The verdict on a history, with the evidence it stands on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from .findings import Finding
from .witnesses import Witness

Status = Literal["ok", "violated", "unknown"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a history kept a bound: `ok`, `violated` or `unknown`, never a bare bool, and on what evidence.

    - `status`: `violated` if a finding was made that breaks the promise; `ok` if none was and at least one
      relevant read was certainly within the bound; else `unknown`. `reason` says why in a sentence.
    - `bound_ns`, `eps_ns`: what the history was judged with.
    - `counts`: cached reads by finding, each in one of the first six and also in the last three where they apply.
      `control`: the same for reads via `db`, which are no cache's fault and decide nothing.
    - `reads`: cached reads judged. `relevant_reads`: those that could have been stale, because the oldest version
      had certainly been superseded before they began. `decisive_reads`: by more than the bound, so that they
      could have broken it; without any, `ok` says only that nothing else was wrong.
    - `worst_lower_ns`, `worst_upper_ns`: the greatest bounds of staleness over cached reads, None without any.
      `quantiles_ns`: quantile → its lower bound, over relevant reads; empty without any.
    - `witnesses`: one per cached read and finding, except OK and INDETERMINATE; in the order of the history.
    - `refusals`: why the history cannot be judged; then nothing was counted and the status is `unknown`.

    Taking its truth value raises TypeError: `assert judge(…)` would pass for all three.
    """

    status: Status
    reason: str
    bound_ns: int
    eps_ns: int
    counts: Mapping[Finding, int] = field(default_factory=dict)
    control: Mapping[Finding, int] = field(default_factory=dict)
    reads: int = 0
    relevant_reads: int = 0
    decisive_reads: int = 0
    worst_lower_ns: int | None = None
    worst_upper_ns: int | None = None
    quantiles_ns: Mapping[float, int] = field(default_factory=dict)
    witnesses: tuple[Witness, ...] = ()
    refusals: tuple[str, ...] = ()

    def __bool__(self) -> NoReturn:
        raise TypeError("a verdict is ok, violated or unknown; compare its status")
