"""Programs for those who work on pykexec; not installed."""
