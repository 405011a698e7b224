"""Puts the champions to learners they have not seen."""
