"""Kernel images that only x86 has. Pure."""
