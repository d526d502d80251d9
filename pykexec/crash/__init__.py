"""What a crash kernel needs and what it leaves behind. Pure."""
