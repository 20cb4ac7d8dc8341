"""Where results go: one interface, and the kinds of destination behind it. A new kind is a class here and its settings."""

from __future__ import annotations

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


class DicomDestination:
    """A DICOM peer: C-STORE, storage commitment, C-ECHO."""

    def __init__(self, peer: Peer, own_ae_title: str, timeout_s: float, wants_commitment: bool, on_report: TakeReport) -> None:
        self._peer = peer
        self._own_ae_title = own_ae_title
        self._timeout_s = timeout_s
        self._wants_commitment = wants_commitment
        self._on_report = on_report

    def send(self, part10: bytes) -> Receipt:
        sop_uid, status = cstore.store(part10, self._peer, self._own_ae_title, self._timeout_s)
        return Receipt(self._peer.name, sop_uid, status)

    def request_commitment(self, transaction_uid: str, sop_class_uid: str, sop_uid: str) -> None:
        commitment.request_commitment(
            self._peer, self._own_ae_title, transaction_uid, sop_class_uid, sop_uid, self._timeout_s, self._on_report
        )

    def check(self) -> str:
        wanted = [Verification, SegmentationStorage, *([StorageCommitmentPushModel] if self._wants_commitment else [])]
        with association_with(self._peer, self._own_ae_title, wanted, self._timeout_s) as association:
            if not accepts(association, SegmentationStorage):
                raise DeliveryRefused(f"{self._peer} answers, but does not take {class_name(SegmentationStorage)}")
            if not accepts(association, Verification):
                said = "takes no C-ECHO"
            elif association.send_c_echo().get("Status") == 0x0000:
                said = "answers C-ECHO"
            else:
                raise PacsUnavailable(f"{self._peer}: C-ECHO was not answered with success")
            if self._wants_commitment and not accepts(association, StorageCommitmentPushModel):
                raise DeliveryRefused(f"{self._peer} offers no storage commitment; set commitment = false for it")
        return f"{said}, takes Segmentation Storage" + (", offers storage commitment" if self._wants_commitment else "")


class FolderDestination:
    """A folder, for those who carry results on by themselves."""

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path

    def send(self, part10: bytes) -> Receipt:
        return Receipt(self._name, folder.store(part10, self._path), 0x0000)

    def request_commitment(self, transaction_uid: str, sop_class_uid: str, sop_uid: str) -> None:
        raise CommitmentRefused(f"{self._name} is a folder, which commits to nothing")

    def check(self) -> str:
        return folder.check(self._path)


def make_destination(
    destination: DestinationSettings, deliver: DeliverSettings, own_ae_title: str, on_report: TakeReport
) -> Destination:
    """The destination of the settings. Nothing is opened before it is used."""
    if destination.kind == "folder" and destination.folder is not None:
        return FolderDestination(destination.name, destination.folder)
    peer = Peer(destination.name, destination.ae_title, destination.host, destination.port)
    return DicomDestination(peer, own_ae_title, deliver.timeout_s, destination.wants_commitment, on_report)
