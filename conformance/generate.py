"""Writes conformance/statement.md: the template beside this file with its tables made from the program.

python conformance/generate.py
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pydicom.sr.coding import Code
from pydicom.uid import UID, MRImageStorage
from pynetdicom import AllStoragePresentationContexts, build_context
from pynetdicom.sop_class import SegmentationStorage, StorageCommitmentPushModel, Verification

from cmdiff_dicom import __version__
from cmdiff_dicom.deliver import association, commitment, cstore
from cmdiff_dicom.encode import codes
from cmdiff_dicom.ledger.states import COMMITMENT_FAILURES, MAX_RESENDS, AfterFailedCommitment
from cmdiff_dicom.receive import connection, intake, listener, negotiation, transport
from cmdiff_dicom.settings import DeliverSettings, DispatchSettings, ListenSettings

HERE = Path(__file__).parent
STATEMENT = HERE / "statement.md"

_AFTER = {
    AfterFailedCommitment.ASK_AGAIN: "commitment is asked for again",
    AfterFailedCommitment.SEND_AGAIN: f"the result is sent again, {MAX_RESENDS} times at most",
    AfterFailedCommitment.GIVE_UP: "the delivery stays sent and says why",
}
_STORE_RANGES = (
    (range(1), "Success"),
    (range(0xB000, 0xC000), "Warning"),
    (range(0x0111, 0x0112), "Failure: duplicate SOP Instance"),
    (range(0xA700, 0xA800), "Failure: out of resources"),
    (range(0x0110, 0x0111), "Failure: processing failure"),
    (range(0xA900, 0xAA00), "Failure: data set does not match SOP Class"),
    (range(0xC000, 0xD000), "Failure: cannot understand"),
    (range(0x0117, 0x0118), "Failure: invalid SOP Instance"),
    (range(0x0122, 0x0123), "Failure: SOP Class not supported"),
    (range(0x0124, 0x0125), "Failure: not authorized"),
    (range(0x0210, 0x0213), "Failure: duplicate invocation, unrecognized operation, mistyped argument"),
)
"""Statuses of C-STORE responses (PS3.4 Table B.2-1, PS3.7 9.1.1.1.9)."""


def statement() -> str:
    """The whole statement."""
    template = (HERE / "template.md").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: PARTS[found[1]](), template)


def _content() -> str:
    rows = (
        (_named(SegmentationStorage), "created, received", "SCU, SCP"),
        (_named(MRImageStorage), "received, read", "SCP"),
        ("Other storage SOP Classes (Annex A.A)", "received, not read", "SCP"),
    )
    return table(("SOP Class", "Use", "Storage"), rows)


def _services() -> str:
    rows = (
        (_named(Verification), "Yes", "Yes"),
        ("Storage: Segmentation", "Yes", "Yes"),
        ("Storage: all others", "No", "Yes"),
        (_named(StorageCommitmentPushModel), "Yes", "No"),
    )
    return table(("Service", "SCU", "SCP"), rows)


def _commitment_failures() -> str:
    rows = [(_code(code), meaning, _AFTER[action]) for code, (meaning, action) in COMMITMENT_FAILURES.items()]
    rows.append(("any other", "unknown reason", _AFTER[AfterFailedCommitment.GIVE_UP]))
    return table(("Failure Reason (0008,1197)", "Meaning", "Behaviour"), rows)


def _configuration() -> str:
    listen, deliver, dispatch = ListenSettings(), DeliverSettings(), DispatchSettings()
    rows = (
        ("Own AE title", f"`listen.ae_title`, {listen.ae_title}"),
        ("Port", f"`listen.port`, {listen.port}"),
        ("Calling AE titles that are accepted", "`listen.calling_ae_titles`, all"),
        ("Called AE title is checked", f"`listen.check_called_ae_title`, {'yes' if listen.check_called_ae_title else 'no'}"),
        ("Storage SOP Classes that are accepted", "`listen.only_sop_classes`, all"),
        ("Size of one object at most", f"`listen.max_object_mb`, {listen.max_object_mb} MB"),
        ("Quiet time of a complete study", f"`dispatch.quiet_s`, {dispatch.quiet_s:g} s"),
        ("Quiet time of an incomplete study", f"`dispatch.give_up_s`, {dispatch.give_up_s:g} s"),
        ("Time-out towards destinations", f"`deliver.timeout_s`, {deliver.timeout_s:g} s"),
        ("Attempts at a delivery", f"`deliver.max_attempts`, {deliver.max_attempts}"),
        ("Wait for a commitment report", f"`deliver.commitment_wait_s`, {deliver.commitment_wait_s:g} s"),
        ("Commitment requests for one delivery", f"`deliver.commitment_requests`, {deliver.commitment_requests}"),
    )
    return table(("Parameter", "Setting and default"), rows)


def _association_parameters() -> str:
    listen = ListenSettings()
    rows = (
        ("Application Context Name", "1.2.840.10008.3.1.1.1"),
        ("Implementation Class UID", listener.IMPLEMENTATION_CLASS_UID),
        ("Implementation Version Name", listener.IMPLEMENTATION_VERSION),
        ("Maximum PDU length advertised", f"{transport.ADVERTISED_PDU_BYTES} bytes"),
        ("PDU length above which a peer is aborted", f"{connection.MAX_PDU_BYTES} bytes"),
        ("Maximum PDU length of the peer", "any, 0 (unlimited) included"),
        ("Accepted associations at once", f"{listen.max_associations} (configurable)"),
        ("Asynchronous operations", "not supported"),
        ("Time for an association request (ARTIM)", f"{listener.ASSOCIATION_TIMEOUT_S:g} s"),
        ("Silence, or one PDU on its way, at most", f"{listen.idle_timeout_s:g} s (configurable)"),
        ("TCP", "TCP_NODELAY and SO_KEEPALIVE on both sides; IPv4 or IPv6 by the configured host"),
    )
    return table(("Parameter", "Value"), rows)


def _initiation() -> str:
    syntaxes = ", ".join(_named(uid) for uid in association.TRANSFER_SYNTAXES)
    checked = (Verification, SegmentationStorage, StorageCommitmentPushModel)
    rows = (
        ("Result to a destination", _named(SegmentationStorage), syntaxes, "SCU"),
        ("Commitment for a result", _named(StorageCommitmentPushModel), syntaxes, "SCU"),
        *(("`cmdiff-dicom check`, which sends C-ECHO alone", _named(uid), syntaxes, "SCU") for uid in checked),
    )
    return table(("Activity", "Abstract syntax", "Transfer syntaxes", "Role"), rows)


def _acceptance() -> str:
    preferred = ", then ".join(_named(uid) for uid in negotiation.PREFERRED)
    by_default = ", ".join(UID(uid).name for uid in build_context(Verification).transfer_syntax)
    rows = (
        ("Receive a study", "all storage SOP Classes", f"all; chosen: {preferred}, then the first proposed", "SCP"),
        ("Connection test", _named(Verification), by_default, "SCP"),
        ("Commitment report", _named(StorageCommitmentPushModel), by_default, "SCU"),
    )
    return table(("Activity", "Abstract syntax", "Transfer syntaxes", "Role"), rows)


def _rejections() -> str:
    low = "the spool's disk is low, or the ledger does not answer; who proposes storage commitment alone is let in"
    rows = (
        ("1/1/3", "calling AE title not recognized", "not among the configured ones"),
        ("1/1/7", "called AE title not recognized", "not the configured one"),
        (_triple(listener.TEMPORARY_CONGESTION), "temporary congestion", low),
        (_triple(listener.LOCAL_LIMIT_EXCEEDED), "local limit exceeded", "too many associations at once"),
    )
    return table(("Result/source/reason", "Meaning", "Sent when"), rows)


def _failures() -> str:
    rows = (
        (
            "A destination cannot be reached, rejects, aborts, or is silent",
            "tried again with growing pauses; the reason is shown",
        ),
        ("A destination accepts no context for Segmentation Storage", "final at once, with class and peer named"),
        ("A peer stalls within a PDU, or falls silent", "its association is ended after the time-out, and its place is free"),
        ("A peer sends a PDU or an object that is too long", "its association is aborted"),
        ("The program or its machine stops", "what was answered 0x0000 is on the disk; work goes on where it was"),
    )
    return table(("Event", "Behaviour"), rows)


def _store_scp_statuses() -> str:
    return table(("Status", "When"), [(_code(status), meaning) for status, meaning in intake.STATUSES.items()])


def _store_scu_statuses() -> str:
    rows = []
    for statuses, meaning in _STORE_RANGES:
        outcomes = {cstore.outcome(status).value for status in statuses}
        if len(outcomes) != 1:
            raise ValueError(f"C-STORE statuses {_codes(statuses)} end in several ways: {sorted(outcomes)}")
        rows.append((_codes(statuses), meaning, outcomes.pop()))
    return table(("Status", "Meaning", "The delivery is"), rows)


def _storage_classes() -> str:
    rows = [
        (UID(context.abstract_syntax).name, context.abstract_syntax)
        for context in AllStoragePresentationContexts
        if negotiation.is_storage(context.abstract_syntax)
    ]
    return table(("SOP Class", "UID"), sorted(rows, key=lambda row: row[1]))


def _codes_table() -> str:
    rows = [(meaning.name, _coded(meaning.kind), f"{meaning.rgb}") for meaning in codes.MEANINGS.values()]
    return table(("Segment Label", "Segmented Property Type", "Colour (sRGB)"), rows)


PARTS: dict[str, Callable[[], str]] = {
    "version": lambda: __version__,
    "content": _content,
    "services": _services,
    "report_wait_s": lambda: f"{commitment.REPORT_WAIT_S:g}",
    "commitment_failures": _commitment_failures,
    "configuration": _configuration,
    "association_parameters": _association_parameters,
    "initiation": _initiation,
    "acceptance": _acceptance,
    "rejections": _rejections,
    "failures": _failures,
    "store_scp_statuses": _store_scp_statuses,
    "store_scu_statuses": _store_scu_statuses,
    "port": lambda: f"{ListenSettings().port}",
    "storage_classes": _storage_classes,
    "category": lambda: _coded(codes.MORPHOLOGICALLY_ABNORMAL),
    "region": lambda: _coded(codes.BRAIN),
    "codes": _codes_table,
}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _named(uid: str) -> str:
    return f"{UID(uid).name} ({uid})"


def _coded(code: Code) -> str:
    return f"{code.meaning} ({code.value}, {code.scheme_designator})"


def _code(status: int) -> str:
    return f"0x{status:04X}"


def _codes(statuses: range) -> str:
    return _code(statuses[0]) if len(statuses) == 1 else f"{_code(statuses[0])}-{_code(statuses[-1])}"


def _triple(rejection: Iterable[int]) -> str:
    return "/".join(map(str, rejection))


if __name__ == "__main__":
    STATEMENT.write_text(statement(), encoding="utf-8")
