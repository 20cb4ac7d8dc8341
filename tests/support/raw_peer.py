"""A DICOM peer on a bare socket: says exactly the bytes that a test wants said, and is quick enough to measure receivers with."""

from __future__ import annotations

import socket
import struct

VERIFICATION = "1.2.840.10008.1.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
COMMITMENT, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)


class RawPeer:
    """One connection to `port` on this machine."""

    def __init__(self, port: int, timeout_s: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.max_pdu = 16384

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, pdu_type: int, body: bytes) -> None:
        self.socket.sendall(struct.pack(">BBL", pdu_type, 0, len(body)) + body)

    def receive(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; (0, b"") where the other side closed."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, b""
        pdu_type, _, length = struct.unpack(">BBL", head)
        return pdu_type, self._exactly(length)

    def associate(
        self, contexts=((MR, (EXPLICIT,)),), called="CMDIFF", calling="PEER", max_pdu=16384, roles=(), user_items=b""
    ) -> tuple[int, bytes]:
        """Asks for an association; contexts get the IDs 1, 3, 5, ... Type and body of the answer."""
        self.send(ASSOCIATE_RQ, association_request(contexts, called, calling, max_pdu, roles, user_items))
        pdu_type, body = self.receive()
        if pdu_type == ASSOCIATE_AC:
            self.max_pdu = _advertised_length(body) or 1 << 20
        return pdu_type, body

    def store(self, data_set: bytes, sop_uid="1.2.3", sop_class=MR, context_id=1, message_id=1) -> int:
        """The status that a C-STORE of these bytes is answered with; -1 where the association ended instead."""
        self.socket.sendall(store_message(data_set, sop_uid, sop_class, context_id, message_id, self.max_pdu))
        pdu_type, body = self.receive()
        return status_of(body) if pdu_type == P_DATA else -1

    def echo(self, context_id=1, left_out=()) -> int:
        elements = ((0x0002, _uid(VERIFICATION)), (0x0100, _us(0x0030)), (0x0110, _us(7)), (0x0800, _us(0x0101)))
        self.send(P_DATA, _pdv(context_id, 3, _command(*(one for one in elements if one[0] not in left_out))))
        pdu_type, body = self.receive()
        return status_of(body) if pdu_type == P_DATA else -1

    def report(self, information: bytes, event_type=1, context_id=1, left_out=()) -> int:
        """The status that a storage commitment report is answered with; `information` in Implicit VR Little Endian."""
        elements = (
            (0x0002, _uid(COMMITMENT)),
            (0x0100, _us(0x0100)),
            (0x0110, _us(9)),
            (0x0800, _us(0x0000)),
            (0x1000, _uid(COMMITMENT_INSTANCE)),
            (0x1002, _us(event_type)),
        )
        self.send(P_DATA, _pdv(context_id, 3, _command(*(one for one in elements if one[0] not in left_out))))
        self.send(P_DATA, _pdv(context_id, 2, information))
        pdu_type, body = self.receive()
        return status_of(body) if pdu_type == P_DATA else -1

    def release(self) -> None:
        self.send(RELEASE_RQ, b"\0" * 4)
        self.receive()
        self.socket.close()

    def _exactly(self, count: int) -> bytes:
        received = bytearray()
        while len(received) < count:
            try:
                piece = self.socket.recv(count - len(received))
            except ConnectionResetError:
                break
            if not piece:
                break
            received += piece
        return bytes(received)


def association_request(contexts, called="CMDIFF", calling="PEER", max_pdu=16384, roles=(), user_items=b"") -> bytes:
    items = [item(0x10, b"1.2.840.10008.3.1.1.1")]
    for number, (abstract, syntaxes) in enumerate(contexts):
        inside = item(0x30, abstract.encode()) + b"".join(item(0x40, uid.encode()) for uid in syntaxes)
        items.append(item(0x20, bytes((2 * number + 1, 0, 0, 0)) + inside))
    user = item(0x51, struct.pack(">L", max_pdu)) + item(0x52, b"1.2.3.4")
    for uid, scu, scp in roles:
        user += item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes((scu, scp)))
    items.append(item(0x50, user + user_items))
    titles = called.encode().ljust(16) + calling.encode().ljust(16)
    return struct.pack(">HH", 1, 0) + titles + b"\0" * 32 + b"".join(items)


def store_message(data_set: bytes, sop_uid: str, sop_class=MR, context_id=1, message_id=1, max_pdu=16384) -> bytes:
    """The PDUs of a C-STORE request, ready to be sent."""
    command = _command(
        (0x0002, _uid(sop_class)),
        (0x0100, _us(0x0001)),
        (0x0110, _us(message_id)),
        (0x0700, _us(0)),
        (0x0800, _us(0x0000)),
        (0x1000, _uid(sop_uid)),
    )
    pdus = [_p_data(_pdv(context_id, 3, command))]
    step = max_pdu - 6
    for start in range(0, max(len(data_set), 1), step):
        fragment = data_set[start : start + step]
        pdus.append(_p_data(_pdv(context_id, 2 if start + step >= len(data_set) else 0, fragment)))
    return b"".join(pdus)


def status_of(p_data: bytes) -> int:
    """The Status of the response in the body of a P-DATA PDU."""
    command, at = p_data[6:], 0
    while at < len(command):
        _, element, length = struct.unpack("<HHL", command[at : at + 8])
        if element == 0x0900:
            return struct.unpack("<H", command[at + 8 : at + 10])[0]
        at += 8 + length
    raise ValueError("no Status in the response")


def accepted(association_ac: bytes) -> dict[int, tuple[int, str]]:
    """Context ID -> (result, transfer syntax) of an A-ASSOCIATE-AC body, in the order of the IDs."""
    results = sorted(value for kind, value in items_of(association_ac[68:]) if kind == 0x21)
    return {value[0]: (value[2], value[8 : 8 + struct.unpack(">H", value[6:8])[0]].decode()) for value in results}


def roles_in(association_ac: bytes) -> dict[str, tuple[int, int]]:
    """SOP class -> (SCU role, SCP role) of the role selection items in an A-ASSOCIATE-AC body."""
    user = next(value for kind, value in items_of(association_ac[68:]) if kind == 0x50)
    return {value[2:-2].decode(): (value[-2], value[-1]) for kind, value in items_of(user) if kind == 0x54}


def _advertised_length(association_ac: bytes) -> int:
    user = next(value for kind, value in items_of(association_ac[68:]) if kind == 0x50)
    return next(struct.unpack(">L", value)[0] for kind, value in items_of(user) if kind == 0x51)


def items_of(content: bytes):
    at = 0
    while at + 4 <= len(content):
        kind, _, length = struct.unpack(">BBH", content[at : at + 4])
        yield kind, content[at + 4 : at + 4 + length]
        at += 4 + length


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _p_data(body: bytes) -> bytes:
    return struct.pack(">BBL", P_DATA, 0, len(body)) + body


def _pdv(context_id: int, control: int, fragment: bytes) -> bytes:
    return struct.pack(">LBB", len(fragment) + 2, context_id, control) + fragment


def _command(*elements: tuple[int, bytes]) -> bytes:
    encoded = b"".join(struct.pack("<HHL", 0, number, len(value)) + value for number, value in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(encoded)) + encoded


def _us(value: int) -> bytes:
    return struct.pack("<H", value)


def _uid(value: str) -> bytes:
    return value.encode() + b"\0" * (len(value) % 2)
