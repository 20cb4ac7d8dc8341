"""Bytes from the network or a folder become durable, indexed instances."""

from cmdiff_dicom.receive.folder import FolderContent, read_folder
from cmdiff_dicom.receive.identity import read_instance
from cmdiff_dicom.receive.intake import Intake
from cmdiff_dicom.receive.listener import Listener, start_listener

__all__ = ["FolderContent", "Intake", "Listener", "read_folder", "read_instance", "start_listener"]
