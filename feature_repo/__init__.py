"""What a feature is: the row, its fold and windows, the Feast views over it, the store that keeps it."""
