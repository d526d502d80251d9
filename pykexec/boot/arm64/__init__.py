"""The boot protocol of arm64: facts, request and image in, a plan out. Pure."""
