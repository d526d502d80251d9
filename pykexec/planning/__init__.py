"""From facts and a request to a plan: places, digest, what it must keep, why it is so. Pure."""
