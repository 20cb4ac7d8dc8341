"""A synthetic study as DICOM, a PACS double, and the demo that joins everything."""
