"""Products that Firstmile serves, one folder each: files, and Python where files are not enough."""
