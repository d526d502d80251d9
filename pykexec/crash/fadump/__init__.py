"""Firmware-assisted dumps: what a machine says of them, and what they leave in memory. Pure.

Linux Documentation/arch/powerpc/firmware-assisted-dump.rst. Firmware copies the memory that the
next kernel runs in, resets the machine and starts the boot loader; the kernel that comes up shows
the dump in /proc/vmcore.
"""
