"""What a job and a delivery can be, and what may become of them: a table, pure.

A job is one revision of one study's analysis; a delivery is one result on its way to one destination.

    SETTLED > SEGMENTING > SEGMENTED | NO_TUMOUR | REFUSED | FAILED      any that is not final > SUPERSEDED
    PENDING > SENT > COMMITTED | FAILED                                  SENT is final where nobody is asked to commit

No clock decides anything here, since clocks jump. What changes is counted (arrivals, renewals, rings, attempts), and
whoever waits measures on its own monotonic clock how long a count has stood still. Stamps are for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any


class Arrival(Enum):
    """What a received instance was to the ledger. All three are kept."""

    NEW = "new"
    SAME_BYTES = "same bytes"
    """The same bytes in the same series again: a resend."""
    OTHER_BYTES = "other bytes"
    """A SOP Instance UID that the study already has, with other bytes or in another series."""


class JobState(Enum):
    SETTLED = "settled"
    SEGMENTING = "segmenting"
    SEGMENTED = "segmented"
    NO_TUMOUR = "no tumour found"
    REFUSED = "refused"
    FAILED = "failed"
    SUPERSEDED = "superseded"

    @property
    def is_final(self) -> bool:
        """True where nothing more happens by itself."""
        return self not in (JobState.SETTLED, JobState.SEGMENTING)


class JobEvent(Enum):
    CLAIM = "claimed"
    FINISH = "segmented"
    FIND_NOTHING = "no tumour found"
    REFUSE = "refused"
    FAIL = "failed"
    PUT_OFF = "put off"
    LOSE_LEASE = "lease lost"
    HAND_BACK = "handed back"
    SUPERSEDE = "superseded"
    RETRY = "retried"


class DeliveryState(Enum):
    PENDING = "pending"
    SENT = "sent"
    COMMITTED = "committed"
    FAILED = "failed"


NEXT: Mapping[tuple[JobState, JobEvent], JobState] = {
    (JobState.SETTLED, JobEvent.CLAIM): JobState.SEGMENTING,
    (JobState.SEGMENTING, JobEvent.FINISH): JobState.SEGMENTED,
    (JobState.SEGMENTING, JobEvent.FIND_NOTHING): JobState.NO_TUMOUR,
    (JobState.SEGMENTING, JobEvent.REFUSE): JobState.REFUSED,
    (JobState.SEGMENTING, JobEvent.FAIL): JobState.FAILED,
    (JobState.SEGMENTING, JobEvent.PUT_OFF): JobState.SETTLED,
    (JobState.SEGMENTING, JobEvent.LOSE_LEASE): JobState.SETTLED,
    (JobState.SEGMENTING, JobEvent.HAND_BACK): JobState.SETTLED,
    (JobState.SETTLED, JobEvent.SUPERSEDE): JobState.SUPERSEDED,
    (JobState.SEGMENTING, JobEvent.SUPERSEDE): JobState.SUPERSEDED,
    (JobState.FAILED, JobEvent.RETRY): JobState.SETTLED,
    (JobState.REFUSED, JobEvent.RETRY): JobState.SETTLED,
}
"""Whatever is not in this table does not happen. An event leads to one state, wherever it starts."""


def sources(event: JobEvent) -> frozenset[JobState]:
    """The states in which `event` may happen."""
    return frozenset(state for state, happening in NEXT if happening is event)


def target(event: JobEvent) -> JobState:
    """The state to which `event` leads."""
    return next(state for (_, happening), state in NEXT.items() if happening is event)


class AfterFailedCommitment(Enum):
    """What to do about an instance that the destination will not commit to."""

    ASK_AGAIN = "ask again"
    SEND_AGAIN = "send again"
    GIVE_UP = "give up"


COMMITMENT_FAILURES: Mapping[int, tuple[str, AfterFailedCommitment]] = {
    0x0110: ("processing failure", AfterFailedCommitment.ASK_AGAIN),
    0x0112: ("no such object instance", AfterFailedCommitment.SEND_AGAIN),
    0x0213: ("resource limitation", AfterFailedCommitment.ASK_AGAIN),
    0x0122: ("SOP class not supported", AfterFailedCommitment.GIVE_UP),
    0x0119: ("class and instance conflict", AfterFailedCommitment.GIVE_UP),
    0x0131: ("duplicate transaction UID", AfterFailedCommitment.ASK_AGAIN),
}
"""Failure Reason (0008,1197) of a commitment report. Source: PS3.3 C.14.1.1."""

MAX_RESENDS = 3
"""A destination that says "stored" and then knows nothing of the object gets it this many times more."""


def after_failed_commitment(reason: int, resends: int) -> tuple[str, AfterFailedCommitment]:
    """The meaning of a Failure Reason and what follows; unknown reasons are final."""
    meaning, action = COMMITMENT_FAILURES.get(reason, ("unknown reason", AfterFailedCommitment.GIVE_UP))
    if action is AfterFailedCommitment.SEND_AGAIN and resends >= MAX_RESENDS:
        action = AfterFailedCommitment.GIVE_UP
    return f"commitment failed: {meaning} (0x{reason:04X})", action


@dataclass(frozen=True)
class Job:
    """One revision of one study's analysis. `key` digests everything that decides the result."""

    key: str
    study_uid: str
    accession_number: str
    revision: int
    state: JobState
    reason: str
    attempts: int
    """How often it was put off because something outside was missing."""
    lost_leases: int
    renewals: int
    """Counts up with every claim, and while a worker lives; standing still, the worker is dead."""
    rings: int
    """How often a worker was called since the job was last claimed."""
    owner: str
    created_at: datetime
    updated_at: datetime
    plan: Mapping[str, Any] = field(default_factory=dict)
    evidence: str = ""
    blob_sha256: str = ""
    sop_uid: str = ""
    series_uid: str = ""
    volumes_ml: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Delivery:
    """One result on its way to one destination; while `owner` is set, somebody is sending it."""

    id: int
    key: str
    study_uid: str
    destination: str
    state: DeliveryState
    final: bool
    """Nothing more happens by itself. A delivery that is sent and final is not asked about any more; `reason` says why."""
    reason: str
    status: int | None
    """The destination's C-STORE status, where it gave one."""
    attempts: int
    """How often in a row the destination could not be reached: to send to it, and once it is sent, to ask it to commit."""
    resends: int
    lost_leases: int
    renewals: int
    rings: int
    owner: str
    transaction_uid: str
    """The newest storage commitment transaction; "" where none was begun."""
    requests: int
    """How many requests to commit have reached the destination since it was last sent."""
    blob_sha256: str
    sop_uid: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class StudyActivity:
    """How much of a study has come, and how much of that somebody has looked at."""

    study_uid: str
    arrivals: int
    looked_at_arrivals: int
    first_arrival: datetime
    last_arrival: datetime
    accession_number: str = ""
    conflicts: int = 0
    """Instances whose SOP Instance UID came more than once with other bytes or in another series."""


@dataclass(frozen=True)
class Event:
    """One line of a study's history. Never changed, never deleted."""

    at: datetime
    study_uid: str
    key: str
    what: str
    detail: str


@dataclass(frozen=True)
class Association:
    """The last peer that called us."""

    calling_ae: str
    peer: str
    at: datetime
