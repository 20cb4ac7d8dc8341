"""A finished object goes to its destinations, with storage commitment."""

from cmdiff_dicom.deliver.commitment import read_report
from cmdiff_dicom.deliver.destinations import Destination, make_destination

__all__ = ["Destination", "make_destination", "read_report"]
