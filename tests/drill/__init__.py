"""The restore drill: jobs under load, a backup, the loss of everything, and a check of what came back."""
