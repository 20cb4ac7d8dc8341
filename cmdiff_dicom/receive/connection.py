"""A connection to a peer that may stall, lie about lengths, or say nothing at all.

A PDU's length is judged before its memory is taken; it has to arrive whole within a deadline; waiting for the next one is
a wait on the socket, not a nap of a millisecond between two looks.
"""

from __future__ import annotations

import select
import socket
import time

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

MAX_PDU_BYTES = 1 << 20
"""No PDU may be longer, an association request included; peers may overrun what we advertise by a little."""
SELECT_S = 0.005
"""How long the thread of a connection waits for its peer before it looks for something of ours to send."""
IDLE_S = 0.05
"""The same once the peer has been silent for BUSY_S, and how long an association's own thread rests without news."""
BUSY_S = 1.0

_ABORT_PDU = bytes((0x07, 0, 0, 0, 0, 4, 0, 0, 2, 6))
"""A-ABORT by the service provider: invalid PDU parameter value (PS3.8 Table 9-26)."""
_CONNECTION_CLOSED = "Evt17"
"""Makes the state machine close the connection and end the association (PS3.8 Table 9-10)."""


class GuardedSocket(AssociationSocket):  # type: ignore[misc]  # pynetdicom has no types
    """A connection whose every PDU has to arrive whole within `timeout_s`."""

    def __init__(self, assoc: Association, client_socket: socket.socket, timeout_s: float) -> None:
        client_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client_socket.settimeout(timeout_s)
        self._timeout_s = timeout_s
        self._last_read = time.monotonic()
        self._poll = select.poll()
        self._poll.register(client_socket, select.POLLIN)
        super().__init__(assoc, client_socket=client_socket)

    @property
    def ready(self) -> bool:
        """True once there is something to read, False after a short wait without."""
        is_busy = time.monotonic() - self._last_read < BUSY_S
        if self.socket is None or not self._is_connected:
            time.sleep(SELECT_S)
            return False
        return bool(self._poll.poll((SELECT_S if is_busy else IDLE_S) * 1000))

    def recv(self, nr_bytes: int) -> bytearray:
        """`nr_bytes` from the peer, fewer where it closed. Raises: OSError (too long, or too slow); the connection is over."""
        if nr_bytes > MAX_PDU_BYTES:
            self.send(_ABORT_PDU)
            raise OSError("PDU too long")  # the library takes it for a closed connection
        received = bytearray(nr_bytes)
        rest = memoryview(received)
        deadline = time.monotonic() + self._timeout_s
        try:
            while rest:
                self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
                count = self.socket.recv_into(rest)
                if count == 0:
                    break
                rest = rest[count:]
        finally:
            self.socket.settimeout(self._timeout_s)
        self._last_read = time.monotonic()
        left = len(rest)
        rest.release()
        return received[: nr_bytes - left] if left else received

    def give_up(self) -> None:
        """The association is aborted and the connection cut, whatever the peer is still sending."""
        self.send(_ABORT_PDU)
        self.event_queue.put(_CONNECTION_CLOSED)
