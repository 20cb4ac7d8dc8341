"""A ledger on a network file system is found out by its mount."""

from pathlib import Path

import pytest

from cmdiff_dicom.ledger import disk, network_file_system

MOUNTINFO = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 22 0:28 / /srv rw,relatime shared:9 - xfs /dev/sdb1 rw
44 31 0:51 / /srv/state rw,relatime shared:200 - nfs4 filer:/vol rw,vers=4.2
45 22 0:52 / /mnt/with\040space rw - cifs //filer/share rw
46 22 0:53 / /twice rw - ext4 /dev/sdc1 rw
47 46 0:54 / /twice rw - fuse.sshfs host: rw
""".strip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/ledger.sqlite", "ext4"),
        ("/srv/ledger.sqlite", "xfs"),
        ("/srv/state/ledger.sqlite", "nfs4"),
        ("/srv/statement/ledger.sqlite", "xfs"),
        ("/mnt/with space/ledger.sqlite", "cifs"),
        ("/twice/ledger.sqlite", "fuse.sshfs"),
    ],
)
def test_the_innermost_mount_holds_a_path(path, kind):
    assert disk.file_system_of(Path(path), MOUNTINFO) == kind


def test_a_ledger_on_a_network_file_system_is_named(tmp_path, monkeypatch):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTINFO)
    monkeypatch.setattr(disk, "MOUNTS", mounts)
    assert network_file_system("sqlite:////srv/state/ledger.sqlite") == "nfs4"
    assert network_file_system("sqlite:////srv/ledger.sqlite") == ""
    assert network_file_system("postgresql://localhost/srv/state") == ""


def test_this_machines_own_temporary_folder_is_local(tmp_path):
    assert network_file_system(f"sqlite:///{tmp_path / 'ledger.sqlite'}") == ""
