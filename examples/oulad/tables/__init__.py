"""Reads the data set: its tables, checked, and its calendar."""
