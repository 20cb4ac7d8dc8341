"""Where results go: one interface, and the kinds of destination behind it. A new kind is a class here and its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pynetdicom.sop_class import SegmentationStorage, StorageCommitmentPushModel, Verification

from cmdiff_dicom.deliver import commitment, cstore, folder
from cmdiff_dicom.deliver.association import Peer, accepts, association_with, class_name
from cmdiff_dicom.deliver.commitment import TakeReport
from cmdiff_dicom.errors import CommitmentRefused, DeliveryRefused, PacsUnavailable
from cmdiff_dicom.records import Receipt
from cmdiff_dicom.settings import DeliverSettings, DestinationSettings


class Destination(Protocol):
    """A place that takes finished objects."""

    def send(self, part10: bytes) -> Receipt:
        """The object is there. Raises: PacsUnavailable (to be tried again), DeliveryRefused (for good)."""

    def request_commitment(self, transaction_uid: str, sop_class_uid: str, sop_uid: str) -> None:
        """The place was asked to vouch for the object. Raises: PacsUnavailable (it was not), CommitmentRefused."""

    def check(self) -> str:
        """What the place answers when nothing is sent. Raises: PacsUnavailable, DeliveryRefused (it would refuse)."""


@dataclass(frozen=True)
class DicomDestination:
    """A DICOM peer: C-STORE, storage commitment, C-ECHO."""

    peer: Peer
    wants_commitment: bool
    on_report: TakeReport

    def send(self, part10: bytes) -> Receipt:
        sop_uid, status = cstore.store(part10, self.peer)
        return Receipt(self.peer.name, sop_uid, status)

    def request_commitment(self, transaction_uid: str, sop_class_uid: str, sop_uid: str) -> None:
        commitment.request_commitment(self.peer, transaction_uid, sop_class_uid, sop_uid, self.on_report)

    def check(self) -> str:
        wanted = [Verification, SegmentationStorage, *([StorageCommitmentPushModel] if self.wants_commitment else [])]
        with association_with(self.peer, wanted) as association:
            if not accepts(association, SegmentationStorage):
                raise DeliveryRefused(f"{self.peer} answers, but does not take {class_name(SegmentationStorage)}")
            if not accepts(association, Verification):
                said = "takes no C-ECHO"
            elif association.send_c_echo().get("Status") == 0x0000:
                said = "answers C-ECHO"
            else:
                raise PacsUnavailable(f"{self.peer}: C-ECHO was not answered with success")
            if self.wants_commitment and not accepts(association, StorageCommitmentPushModel):
                raise DeliveryRefused(f"{self.peer} offers no storage commitment; set commitment = false for it")
        return f"{said}, takes Segmentation Storage" + (", offers storage commitment" if self.wants_commitment else "")


@dataclass(frozen=True)
class FolderDestination:
    """A folder, for those who carry results on by themselves."""

    name: str
    path: Path

    def send(self, part10: bytes) -> Receipt:
        return Receipt(self.name, folder.store(part10, self.path), 0x0000)

    def request_commitment(self, transaction_uid: str, sop_class_uid: str, sop_uid: str) -> None:
        raise CommitmentRefused(f"{self.name} is a folder, which commits to nothing")

    def check(self) -> str:
        return folder.check(self.path)


def make_destination(
    destination: DestinationSettings, deliver: DeliverSettings, own_ae_title: str, on_report: TakeReport
) -> Destination:
    """The destination of the settings. Nothing is opened before it is used."""
    if destination.kind == "folder" and destination.folder is not None:
        return FolderDestination(destination.name, destination.folder)
    peer = Peer(destination.name, destination.ae_title, destination.host, destination.port, own_ae_title, deliver.timeout_s)
    return DicomDestination(peer, destination.wants_commitment, on_report)
