"""What a command does."""
