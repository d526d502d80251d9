"""Values and their algebra: what the machine is, memory and ranges of it, units. Pure."""
