"""DCMTK's senders against our listener: peers that are not ours, in the ways that they send."""

import os
import shutil
import subprocess
import tarfile

import pytest

from cmdiff_dicom.ledger import open_ledger
from cmdiff_dicom.receive import Intake, read_folder, start_listener
from cmdiff_dicom.records import Blob
from cmdiff_dicom.settings import ListenSettings
from cmdiff_dicom.spool import Spool

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("storescu") is None or shutil.which("dcmsend") is None, reason="DCMTK is not installed"),
]


@pytest.fixture
def node(tmp_path):
    ledger, spool = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}"), Spool(tmp_path / "spool", 0, 0)
    settings = ListenSettings(host="127.0.0.1").model_copy(update={"port": 0})
    listener = start_listener(
        settings, Intake(spool, ledger), lambda: True, lambda _type, _information: 0, lambda _title, _peer: None
    )
    yield listener.port, ledger, spool
    listener.stop()
    ledger.close()


@pytest.fixture(scope="module")
def study(real_data, tmp_path_factory):
    """Real series of many makers: MR, Enhanced MR, spectroscopy, raw data; uncompressed, RLE, JPEG, JPEG-LS, JPEG 2000."""
    folder = tmp_path_factory.mktemp("study")
    for archive in sorted((real_data / "dicom").glob("*.tar.xz")):
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    next(folder.rglob("MR_truncated.dcm")).unlink()  # DCMTK does not send what is cut short
    return folder


def call(*command: str, port: int) -> subprocess.CompletedProcess:
    command = [command[0], "-aet", "DCMTK", "-aec", "CMDIFF", *command[1:]]
    at = command.index("PEER")
    command[at : at + 1] = ["127.0.0.1", str(port)]
    return subprocess.run(
        command, env={**os.environ, "TCP_NODELAY": "1"}, capture_output=True, text=True, timeout=300, check=False
    )


def received(ledger):
    return [instance for study in ledger.open_studies() for instance in ledger.instances(study.study_uid)]


def test_echoscu_is_answered(node):
    assert call("echoscu", "PEER", port=node[0]).returncode == 0


def test_echoscu_under_another_title_is_rejected(node):
    answer = subprocess.run(
        ["echoscu", "-aec", "WRONG", "127.0.0.1", str(node[0])], capture_output=True, text=True, check=False
    )
    assert "Called AE Title Not Recognized" in answer.stderr


def test_storescu_proposes_every_class_and_is_served(node, study):
    port, ledger, _ = node
    folder = study / "ge_signa_pd_fse_ax_obl"
    assert call("storescu", "PEER", "+sd", "+r", str(folder), port=port).returncode == 0
    assert len(received(ledger)) == 20


def test_dcmsend_sends_whole_studies_in_their_own_transfer_syntaxes(node, study):
    """Every file arrives, and those whose transfer syntax DCMTK left alone arrive with the bytes that the file has."""
    port, ledger, spool = node
    answer = call("dcmsend", "PEER", "--no-halt", "--decompress-never", "+sd", "+r", str(study), port=port)
    assert answer.returncode == 0, answer.stderr[-2000:]
    arrived = {instance.sop_uid: instance for instance in received(ledger)}
    in_files = {instance.sop_uid: instance for instance in read_folder(study, lambda content: Blob("", len(content))).instances}
    assert arrived.keys() == in_files.keys()
    same = [uid for uid in arrived if arrived[uid].transfer_syntax_uid == in_files[uid].transfer_syntax_uid]
    assert len(same) > 0.9 * len(arrived)
    for uid in same:
        assert arrived[uid].acquisition == in_files[uid].acquisition
        assert arrived[uid].position_mm == in_files[uid].position_mm
    compressed = {instance.transfer_syntax_uid for instance in arrived.values()} - {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}
    assert len(compressed) >= 4
    assert all(spool.has(instance.blob.sha256) for instance in arrived.values())


def test_dcmsend_with_one_association_for_each_class_and_syntax_is_served(node, study):
    port, ledger, _ = node
    folder = study / "wg04_compressed_single_slices"
    assert (
        call("dcmsend", "PEER", "--multi-associations", "--decompress-never", "+sd", "+r", str(folder), port=port).returncode
        == 0
    )
    assert len(received(ledger)) == len(read_folder(folder, lambda content: Blob("", len(content))).instances)
