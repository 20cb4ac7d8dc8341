"""Bytes -> identity -> spool -> ledger -> status. Only after all of it is on the disk is 0x0000 answered.

Whatever goes wrong becomes a C-STORE status here, so that a sender gets an answer and the listener goes on. A crash
between spool and ledger leaves a blob that nobody knows of; the sender, who got no answer, sends again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from cmdiff_dicom.errors import CmdiffError
from cmdiff_dicom.ledger import Ledger
from cmdiff_dicom.logs import log, place
from cmdiff_dicom.receive.identity import NOT_STORED, read_instance
from cmdiff_dicom.spool import Spool

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
STATUSES = {
    SUCCESS: "The instance and its index are on the disk",
    OUT_OF_RESOURCES: "The spool's disk is full, or spool or ledger could not write; sending again later succeeds",
    CANNOT_UNDERSTAND: "The data set cannot be parsed, or lacks one of its four UIDs",
}
"""Every C-STORE status that `Intake.accept` answers (PS3.4 Table B.2-1)."""


class Intake:
    """Takes instances into a spool and a ledger. Safe to call from any number of threads."""

    def __init__(self, spool: Spool, ledger: Ledger) -> None:
        self._spool = spool
        self._ledger = ledger

    def accept(self, data_set: bytes, transfer_syntax_uid: str, calling_ae: str) -> int:
        """The C-STORE status for a data set's bytes; SUCCESS only once they and their index are durable. Raises nothing."""
        try:
            instance = read_instance(data_set, transfer_syntax_uid, NOT_STORED, calling_ae, datetime.now(UTC))
            blob = self._spool.put(data_set)
            self._ledger.record_instance(replace(instance, blob=blob))
            if not self._spool.has(blob.sha256):  # an old study's resend, whose blob was purged between the two
                self._spool.put(data_set)
        except CmdiffError as error:
            log("receive.store", status=f"0x{error.dimse_status:04X}", error=type(error).__name__)
            return error.dimse_status
        except Exception as error:
            log("receive.store", status=f"0x{OUT_OF_RESOURCES:04X}", error=place(error))
            return OUT_OF_RESOURCES
        return SUCCESS
