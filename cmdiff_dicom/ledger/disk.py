"""Is SQLite's file on a disk of this machine? On a network file system its locks and its shared memory do not hold."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import make_url

NETWORK_FILE_SYSTEMS = frozenset(
    "nfs nfs4 cifs smb smb2 smb3 smbfs ncpfs afs ceph glusterfs lustre gpfs beegfs orangefs ocfs2 gfs2 9p davfs".split()
    + "fuse.sshfs fuse.glusterfs fuse.ceph fuse.davfs fuse.s3fs fuse.rclone fuse.gcsfuse fuse.juicefs fuse.nfs".split()
)
MOUNTS = Path("/proc/self/mountinfo")


def network_file_system(url: str) -> str:
    """The kind of network file system on which the ledger of `url` lies; "" for a local disk and for a database server."""
    address = make_url(url)
    if address.get_backend_name() != "sqlite" or not address.database or not MOUNTS.is_file():
        return ""
    kind = file_system_of(Path(address.database).resolve(), MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"))
    return kind if kind in NETWORK_FILE_SYSTEMS else ""


def file_system_of(path: Path, mountinfo: str) -> str:
    """The type of the file system that holds `path`, from the text of proc(5) mountinfo; "" where none does."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        place = Path(before.split()[4].encode("latin-1", "surrogateescape").decode("unicode_escape"))
        if path.is_relative_to(place) and len(place.parts) >= best:  # of two mounts on one place the later one is seen
            best, kind = len(place.parts), after.split()[0]
    return kind
