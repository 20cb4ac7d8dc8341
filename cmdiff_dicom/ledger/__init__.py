"""The truth: which instance, study, job and delivery is where, and why."""
