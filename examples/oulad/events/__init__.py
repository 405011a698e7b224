"""Makes events and profiles out of the tables, as a tracking client would have sent them."""
