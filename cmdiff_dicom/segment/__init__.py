"""CMDiff: a prepared study becomes region probabilities."""
