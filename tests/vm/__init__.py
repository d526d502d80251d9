"""Real kernels under QEMU: load, jump, and see what arrives."""
