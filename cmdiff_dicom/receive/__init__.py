"""Bytes from the network or a folder become durable, indexed instances."""
