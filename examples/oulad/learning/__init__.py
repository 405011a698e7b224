"""Makes labels and training sets out of the tables: the source that labels.yaml names."""
