"""Answers to alarms: reports over the decision log."""
