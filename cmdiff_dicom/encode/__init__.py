"""A label map becomes a DICOM-SEG on the radiologist's own pixels."""
