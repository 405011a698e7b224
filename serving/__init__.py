"""Models to answers: the decision API, its rules, its ladder, its log."""
