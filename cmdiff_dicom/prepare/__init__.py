"""The four sequences come onto one 1 mm grid along the patient's axes, with a brain mask."""
