"""The system calls: which one, by what numbers, and what a refusal means."""
