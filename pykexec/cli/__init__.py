"""Front doors. They open the user's files, print and choose the exit code; nothing else does."""
