"""How fast instances are received durably, as a part of what plain pynetdicom does that writes raw bytes and syncs nothing.

    python tests/bench/bench_receive.py [instances]

Both receivers run one after another in this run, each in a process of its own, fed by the same sender in another. The
ratio is the figure; the instances per second depend on the machine. At least 0.6 is wanted with one and with four associations.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.instances import mr_data_set
from tests.support.raw_peer import RawPeer, store_message

WANTED_RATIO = 0.6
ROUNDS = 5
"""The best of so many counts, on both sides: neighbours on the machine only ever slow a round down."""


def serve_durably(folder: Path, port_to: multiprocessing.connection.Connection) -> None:
    """Our own listener: header read, spool, ledger, both synced."""
    from cmdiff_dicom.ledger import open_ledger
    from cmdiff_dicom.receive import Intake, start_listener
    from cmdiff_dicom.settings import ListenSettings
    from cmdiff_dicom.spool import Spool

    ledger = open_ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
    settings = ListenSettings(host="127.0.0.1").model_copy(update={"port": 0})
    intake = Intake(Spool(folder / "spool", 0, 0), ledger)
    listener = start_listener(settings, intake, lambda: True, lambda _type, _information: 0, ledger.note_association)
    port_to.send(listener.port)
    port_to.recv()
    listener.stop()


def serve_plainly(folder: Path, port_to: multiprocessing.connection.Connection) -> None:
    """Plain pynetdicom, as its own examples have it: raw bytes into a file, nothing synced, no index."""
    from pynetdicom import AE, StoragePresentationContexts, evt

    def store(event: evt.Event) -> int:
        (folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    ae = AE("CMDIFF")
    ae.supported_contexts = StoragePresentationContexts
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    port_to.send(server.server_address[1])
    port_to.recv()
    server.shutdown()


def send(port: int, associations: int, instances: int, seconds_to: multiprocessing.connection.Connection) -> None:
    """All instances over so many associations at once; the seconds from the first byte to the last answer."""

    def one_association(number: int) -> None:
        with RawPeer(port) as peer:
            peer.associate()
            messages = [
                store_message(
                    mr_data_set(sop_uid=f"1.2.{number}.{index}", instance_number=index + 1),
                    f"1.2.{number}.{index}",
                    max_pdu=peer.max_pdu,
                )
                for index in range(instances // associations)
            ]
            barrier.wait()
            for message in messages:
                peer.socket.sendall(message)
                if peer.receive()[0] != 4:
                    raise RuntimeError("the association ended")
            ends.append(time.perf_counter())
            peer.release()

    ends: list[float] = []
    barrier = threading.Barrier(associations + 1)
    threads = [threading.Thread(target=one_association, args=(number,)) for number in range(associations)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds_to.send(max(ends) - start if len(ends) == associations else float("nan"))


def instances_per_second(serve: Callable[..., None], associations: int, instances: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.Process(target=serve, args=(Path(name), theirs))
        server.start()
        port = ours.recv()
        result, from_sender = multiprocessing.Pipe()
        sender = multiprocessing.Process(target=send, args=(port, associations, instances, from_sender))
        sender.start()
        seconds = result.recv()
        sender.join()
        ours.send("stop")
        server.join()
    return instances / seconds


def main(instances: int = 200) -> int:
    worst = float("inf")
    for associations in (1, 4):
        rounds = [
            (
                instances_per_second(serve_durably, associations, instances),
                instances_per_second(serve_plainly, associations, instances),
            )
            for _ in range(ROUNDS)
        ]
        durable, plain = (max(column) for column in zip(*rounds, strict=True))
        worst = min(worst, durable / plain)
        print(
            f"{associations} association(s): durable {durable:.0f}/s, plain pynetdicom without fsync {plain:.0f}/s, ratio {durable / plain:.2f}"
        )
    print(f"worst ratio {worst:.2f}, wanted {WANTED_RATIO}")
    return 0 if worst >= WANTED_RATIO else 1


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    sys.exit(main(*map(int, sys.argv[1:])))
