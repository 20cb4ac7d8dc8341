"""How long a counter has stood still, by a clock that never jumps."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Measures, for any number of things, the seconds since each one's counter was first seen at its present value.

    Stamps in the ledger are other machines' wall clocks, which jump; the counters beside them do not. So whoever waits
    looks at the counter now and then, and asks how long it has been the same on the `clock` of its own process.
    """

    clock: Callable[[], float] = time.monotonic
    _left_out_s: float = field(init=False, default=0.0)
    _since: dict[Hashable, tuple[Hashable, float]] = field(init=False, default_factory=dict)
    _asked: set[Hashable] = field(init=False, default_factory=set)

    def now(self) -> float:
        """The clock's time without what was left out."""
        return self.clock() - self._left_out_s

    def leave_out(self, seconds: float) -> None:
        """The last `seconds` count for nobody: it could not be seen whether anything moved."""
        self._left_out_s += seconds

    def still_s(self, thing: Hashable, counter: Hashable, head_start_s: float = 0.0) -> float:
        """Seconds that `counter` of `thing` has stood still; a first sight begins at `head_start_s`."""
        now = self.now()
        self._asked.add(thing)
        known = self._since.get(thing)
        if known is None or known[0] != counter:
            known = (counter, now - (head_start_s if known is None else 0.0))
            self._since[thing] = known
        return now - known[1]

    def forget_the_rest(self) -> None:
        """What nobody has asked for since the last call is forgotten: memory does not grow with the studies of a year."""
        self._since = {thing: self._since[thing] for thing in self._asked}
        self._asked = set()
