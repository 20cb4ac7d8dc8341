"""A finished object goes to its destinations, with storage commitment."""
