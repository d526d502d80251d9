"""What only arm64 machines show."""
