"""The messages of one association: bounded over all their fragments, C-STORE served by the thread that received it.

The response to a C-STORE is encoded here, since the library takes longer to encode one than a disk to write. An
association's own thread, which serves all else, rests at a checkpoint until there is news for it.
"""

from __future__ import annotations

import queue
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_ECHO, C_STORE, N_EVENT_REPORT
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance, Verification

from cmdiff_dicom.logs import log, place
from cmdiff_dicom.receive.connection import IDLE_S, SELECT_S

_NO_DATA_SET = 0x0101
_STORE_RESPONSE = 0x8001

Serve = Callable[[bytes, str, str], int]
"""Data set bytes, transfer syntax UID, calling AE title -> C-STORE status."""


class Checkpoint(threading.Event):
    """What the association's own thread waits at in each round: here until there is news, or IDLE_S has passed."""

    def __init__(self) -> None:
        super().__init__()
        self._news = threading.Event()
        self.set()

    def set(self) -> None:
        super().set()
        self._news.set()

    def wait(self, timeout: float | None = None) -> bool:
        is_open = super().wait(timeout)
        self._news.wait(IDLE_S)
        self._news.clear()
        return is_open

    def tell(self) -> None:
        """Something was put where the thread will look."""
        self._news.set()


class AnnouncedQueue(queue.Queue):  # type: ignore[type-arg]  # untyped in pynetdicom
    """A queue that tells a checkpoint of everything put into it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self._checkpoint = checkpoint

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._checkpoint.tell()


class _StoreFirst(AnnouncedQueue):
    """The queue of received messages, past which C-STORE requests are served where they arrive."""

    def __init__(self, checkpoint: Checkpoint, store: Callable[[int, C_STORE], None]) -> None:
        super().__init__(checkpoint)
        self._store = store

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        context_id, message = item
        if isinstance(message, C_STORE) and message.MessageID is not None:  # all that an answer needs
            self._store(context_id, message)
        else:
            _complete(message)
            super().put(item, block, timeout)


class StoringProvider(DIMSEServiceProvider):  # type: ignore[misc]  # pynetdicom has no types
    """Messages of one association, bounded; C-STORE requests served as they are complete."""

    def __init__(
        self, assoc: Association, checkpoint: Checkpoint, serve: Serve, limit_bytes: int, timeout_s: float
    ) -> None:
        super().__init__(assoc)
        self._limit_bytes, self._timeout_s = limit_bytes, timeout_s
        self._received_bytes = 0
        self.msg_queue = _StoreFirst(checkpoint, self._store)
        self._serve = serve

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Another fragment, or a whole message. Beyond the limit the association is aborted and what came is dropped."""
        self._wait_until_established()
        self._received_bytes += sum(len(fragment) for _, fragment in primitive.presentation_data_value_list)
        try:
            if self._received_bytes > self._limit_bytes:
                raise OverflowError
            super().receive_primitive(primitive)
        except Exception as error:  # a malformed command set fails the library's decoder in many ways
            log("receive.message", error=place(error))
            self.message = None
            self.dul.socket.give_up()
        if self.message is None:
            self._received_bytes = 0

    def _wait_until_established(self) -> None:
        """The library drops answers to a peer that is quicker than its own note that the association stands."""
        deadline = time.monotonic() + self._timeout_s
        while not self.assoc.is_established and not self.assoc.is_aborted and time.monotonic() < deadline:
            time.sleep(SELECT_S / 5)

    def _store(self, context_id: int, request: C_STORE) -> None:
        context = self.assoc._accepted_cx.get(context_id)
        if context is None or request.DataSet is None:
            self.dul.socket.give_up()
            return
        data_set = request.DataSet.getvalue()
        request.DataSet = None
        status = self._serve(data_set, str(context.transfer_syntax[0]), str(self.assoc.requestor.ae_title))
        response = P_DATA()
        response.presentation_data_value_list = [[context_id, b"\x03" + encode_store_response(request, status)]]
        self.dul.send_pdu(response)


def _complete(message: Any) -> None:
    """What a command leaves out and can mean one thing alone is there: the library would overlook it, and answer nothing.

    A report without its Event Type ID says nothing that counts, which is answered too.
    """
    if isinstance(message, C_ECHO):
        message.AffectedSOPClassUID = message.AffectedSOPClassUID or Verification
    elif isinstance(message, N_EVENT_REPORT):
        message.AffectedSOPClassUID = message.AffectedSOPClassUID or StorageCommitmentPushModel
        message.AffectedSOPInstanceUID = message.AffectedSOPInstanceUID or StorageCommitmentPushModelInstance
        message.EventTypeID = message.EventTypeID or 0


def encode_store_response(request: C_STORE, status: int) -> bytes:
    """The command set of a C-STORE-RSP, Implicit VR Little Endian (PS3.7 9.3.1.2, 6.3.1)."""
    command = b"".join((
        _element(0x0002, _uid_bytes(request.AffectedSOPClassUID)),
        _element(0x0100, struct.pack("<H", _STORE_RESPONSE)),
        _element(0x0120, struct.pack("<H", request.MessageID)),
        _element(0x0800, struct.pack("<H", _NO_DATA_SET)),
        _element(0x0900, struct.pack("<H", status)),
        _element(0x1000, _uid_bytes(request.AffectedSOPInstanceUID)),
    ))  # fmt: skip
    return _element(0x0000, struct.pack("<L", len(command))) + command


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0x0000, number, len(value)) + value


def _uid_bytes(uid: str | None) -> bytes:
    encoded = (uid or "").encode("ascii", "replace")
    return encoded + b"\0" * (len(encoded) % 2)
