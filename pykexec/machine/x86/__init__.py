"""What only x86 machines show."""
