"""From nothing to a machine that saves its dumps: what is to be written and run. Pure."""
