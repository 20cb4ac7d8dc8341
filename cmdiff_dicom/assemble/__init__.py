"""Instances become stacks in slice order, recognised as T1, T1c, T2 or FLAIR, and volumes with exact geometry."""
