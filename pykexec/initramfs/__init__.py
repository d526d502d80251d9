"""What an initramfs needs to run pykexec: what is picked, where it lies there, and the archive.

Values and rules only. :mod:`pykexec.cli.initramfs_build` asks the interpreter and reads the files.
"""
