"""What every stage shares: settings, names, the wire format, errors, the clock. Imports nothing of ours."""
