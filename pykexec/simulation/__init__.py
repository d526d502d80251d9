"""What a plan is tried out in, and what came of it: an emulated machine and a verdict.

Nothing here starts anything: :mod:`pykexec.cli.emulator` does, and hands over what it hears.
"""
