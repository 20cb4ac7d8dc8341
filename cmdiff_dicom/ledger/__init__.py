"""The truth: which instance, study, job and delivery is where, and why."""

from cmdiff_dicom.ledger.disk import network_file_system
from cmdiff_dicom.ledger.ledger import Ledger, open_ledger
from cmdiff_dicom.ledger.states import Arrival, Association, Delivery, DeliveryState, Event, Job, JobState, StudyActivity

__all__ = [
    "Arrival",
    "Association",
    "Delivery",
    "DeliveryState",
    "Event",
    "Job",
    "JobState",
    "Ledger",
    "StudyActivity",
    "network_file_system",
    "open_ledger",
]
