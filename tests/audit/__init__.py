"""What ships, and what it stands on, looked over: `make audit`."""
