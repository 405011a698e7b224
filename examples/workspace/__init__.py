"""A small SaaS product, all of it in files; past.py makes up users for it."""
