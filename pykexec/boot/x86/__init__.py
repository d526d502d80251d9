"""The boot protocols of x86: facts, request and image in, a plan out. Pure."""
