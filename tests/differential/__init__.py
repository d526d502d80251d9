"""pykexec against the distribution's kexec: what either would tell the kernel, and how fast."""
