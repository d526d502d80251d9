"""What is between options and the system call, for the front doors and for programs alike."""
