"""The reader of YAML files people write; it stands in `firstmile`, for events.yaml and pipelines/rules.yaml too."""

from firstmile.documents import Document, Place, read_document

__all__ = ["Document", "Place", "read_document"]
