"""Kernel images that only arm64 has. Pure."""
