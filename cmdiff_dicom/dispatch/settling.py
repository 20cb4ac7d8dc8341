"""When a study is complete: judged by its headers in the ledger, never by the end of an association.

Quiet for `quiet_s` with the needed sequences there, or for `give_up_s` with what is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cmdiff_dicom.dispatch.stopwatch import Stopwatch
from cmdiff_dicom.errors import CmdiffError
from cmdiff_dicom.ledger import Ledger, StudyActivity
from cmdiff_dicom.logs import log, place
from cmdiff_dicom.records import ReceivedInstance
from cmdiff_dicom.settings import DispatchSettings


@dataclass(frozen=True)
class Recognised:
    """What a study's headers say: the identity of the analysis that they ask for, and what is missing for it.

    `missing` names the needed sequences that are absent or have a fault; `refusal` is "" or why nothing can be analysed as
    things stand; `hopeless` is True where no later image can cure that. `plan` is the choice of stacks as JSON; "images" in it
    is alike for two plans exactly where they are of the same images.
    """

    key: str
    plan: Mapping[str, Any]
    missing: tuple[str, ...] = ()
    refusal: str = ""
    hopeless: bool = False


Recognise = Callable[[tuple[ReceivedInstance, ...]], Recognised]


@dataclass
class Settling:
    """Opens the jobs of complete studies.

    In the first `quiet_s` after a start nothing settles: while we were away nobody could send, so that silence proves nothing.
    """

    ledger: Ledger
    recognise: Recognise
    limits: DispatchSettings
    watch: Stopwatch
    _verdicts: dict[str, tuple[int, Recognised]] = field(init=False, default_factory=dict)
    _started: float = field(init=False)
    _is_first_look: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        self._started = self.watch.now()

    def settle_studies(self) -> None:
        """Every study that has been quiet long enough for what it holds has its job. Every instance restarts the clock."""
        limits = self.limits
        open_studies = self.ledger.open_studies()
        self._verdicts = {s.study_uid: self._verdicts[s.study_uid] for s in open_studies if s.study_uid in self._verdicts}
        for study in open_studies:
            still_s = self.watch.still_s(("study", study.study_uid), study.arrivals, self._age_at_start_s(study))
            if still_s < limits.quiet_s or self.watch.now() - self._started < limits.quiet_s:
                continue
            try:
                self._settle(study, still_s >= limits.give_up_s)
            except CmdiffError:
                raise
            except Exception as error:  # one study's headers that make us stumble must not keep the others waiting
                log("dispatch.recognise", state="failed", where=place(error))
                if still_s >= limits.give_up_s:
                    self._refuse_unexpected(study, place(error))
        self._is_first_look = False

    def _settle(self, study: StudyActivity, give_up: bool) -> None:
        limits = self.limits
        found = self._recognised(study)
        complete = not found.missing and not found.refusal
        if not (complete or found.hopeless or give_up):
            return
        if complete:
            evidence = f"quiet for {limits.quiet_s:g} s with {', '.join(limits.needed_sequences)}"
        elif found.hopeless:
            evidence = f"quiet for {limits.quiet_s:g} s; nothing that may still come can mend it"
        else:
            missing = ", ".join(found.missing) or "nothing by name"
            evidence = f"gave up {limits.give_up_s:g} s after the last image; missing: {missing}"
        key = self._key_of_the_same_images(study.study_uid, found.plan) or found.key
        job = self.ledger.settle(study.study_uid, study.arrivals, key, dict(found.plan), evidence, found.refusal)
        self._verdicts.pop(study.study_uid, None)
        if job is not None:
            log("dispatch.settled", job=job.key, state=job.state.value, attempt=job.revision)

    def _key_of_the_same_images(self, study_uid: str, plan: Mapping[str, Any]) -> str:
        """The study's newest job where it is of the same images: new weights make no revision of what was done; else ""."""
        newest = self.ledger.job(self.ledger.newest_key(study_uid) or "")
        return newest.key if newest and plan.get("images") and newest.plan.get("images") == plan["images"] else ""

    def _refuse_unexpected(self, study: StudyActivity, where: str) -> None:
        """A study whose headers nothing of ours understands ends by name too, until more of it comes."""
        key = hashlib.sha256(f"{study.study_uid} {study.arrivals} {where}".encode()).hexdigest()
        reason = f"unexpected {where}; please report this"
        self.ledger.settle(study.study_uid, study.arrivals, key, {}, "its headers could not be understood", reason)

    def _recognised(self, study: StudyActivity) -> Recognised:
        """The verdict on a study as it stands, made once for each number of arrivals."""
        known = self._verdicts.get(study.study_uid)
        if known is None or known[0] != study.arrivals:
            known = (study.arrivals, self.recognise(self.ledger.instances(study.study_uid)))
            self._verdicts[study.study_uid] = known
        return known[1]

    def _age_at_start_s(self, study: StudyActivity) -> float:
        """How long the study had waited when this process first looked; 0 for one that came since.

        The only use of a stamp for waiting, and it can but shorten the wait for what is missing, never below `quiet_s`.
        """
        if not self._is_first_look:
            return 0.0
        age_s = (datetime.now(UTC) - study.last_arrival).total_seconds()
        return min(max(age_s, 0.0), max(self.limits.give_up_s - self.limits.quiet_s, 0.0))
