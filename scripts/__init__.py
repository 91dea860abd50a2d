"""What the scripts share; nothing of it is installed."""
