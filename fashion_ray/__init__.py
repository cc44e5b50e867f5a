"""Catalog scoring on Ray: ingest pictures, fine-tune a network, write labels and embeddings back to Parquet."""

__version__ = "0.1.0"
