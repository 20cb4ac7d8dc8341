"""Who called us last is known, and costs a peer with many associations little."""

from cmdiff_dicom.ledger import studies
from tests.support.ledgers import NOON


def test_the_last_peer_that_called_is_known(ledger):
    assert ledger.last_association() is None
    ledger.note_association("SCANNER", "10.0.0.7")
    ledger.note_association("PACS", "10.0.0.8")
    ledger.note_association("SCANNER", "10.0.0.9")
    last = ledger.last_association()
    assert (last.calling_ae, last.peer) == ("SCANNER", "10.0.0.9")
    assert last.at > NOON.replace(year=2000)


def test_a_peer_that_calls_without_end_is_noted_now_and_then(ledger, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(studies.time, "monotonic", lambda: now[0])
    ledger.note_association("SCANNER", "10.0.0.7")
    first = ledger.last_association()
    ledger.note_association("SCANNER", "10.0.0.7")
    assert ledger.last_association() == first
    now[0] += studies.NOTE_AGAIN_S
    ledger.note_association("SCANNER", "10.0.0.7")
    assert ledger.last_association().at > first.at
