"""Device trees that the next kernel is handed. Pure."""
