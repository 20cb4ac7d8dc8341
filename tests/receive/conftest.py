"""A listener on a free port of this machine, with a spool and a ledger of its own."""

import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from cmdiff_dicom.ledger import Ledger, open_ledger
from cmdiff_dicom.receive import Intake, Listener, start_listener
from cmdiff_dicom.settings import ListenSettings
from cmdiff_dicom.spool import Spool
from tests.support.instances import STUDY


@dataclass
class Node:
    listener: Listener
    ledger: Ledger
    spool: Spool
    may_accept: threading.Event
    reports: list[tuple[int, Any]] = field(default_factory=list)
    report_status: int = 0x0000
    unreadable_is_a_fault: bool = False

    @property
    def port(self) -> int:
        return self.listener.port

    def stored(self):
        return self.ledger.instances(STUDY)


@pytest.fixture
def start_node(tmp_path):
    """Starts listeners with settings of the test's own; all are stopped at its end."""
    nodes = []

    def start(**settings) -> Node:
        ledger, spool = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}"), Spool(tmp_path / "spool", 0, 0)
        may_accept = threading.Event()
        may_accept.set()

        def on_report(event_type, information):
            if node.unreadable_is_a_fault:
                assert information.TransactionUID
            node.reports.append((event_type, information))
            return node.report_status

        listen = ListenSettings(host="127.0.0.1", **settings).model_copy(update={"port": 0})
        listener = start_listener(listen, Intake(spool, ledger), may_accept.is_set, on_report, ledger.note_association)
        node = Node(listener, ledger, spool, may_accept)
        nodes.append(node)
        return node

    yield start
    for node in nodes:
        node.listener.stop()
        node.ledger.close()


@pytest.fixture
def node(start_node):
    return start_node()
