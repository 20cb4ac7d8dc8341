"""Region probabilities return to the scanner's grid and become labels and volumes in ml."""

from cmdiff_dicom.restore.labels import LabelRules, labels_from_probability, main_confidence, regions_from_labels
from cmdiff_dicom.restore.native import restore_probability, told_box

__all__ = ["LabelRules", "labels_from_probability", "main_confidence", "regions_from_labels", "restore_probability", "told_box"]
