"""Sessions of the live update orchestrator: for programs, and held for the verbs.

``session`` is what programs have; ``files`` and ``copies`` make a file a memfd and a memfd a file;
``holder`` is the process that keeps a session between two verbs, ``asking`` what asks it, and
``places`` where it is found; ``verbs`` are what the verbs do.
"""
