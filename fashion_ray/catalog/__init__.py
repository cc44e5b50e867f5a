"""From a raw feed to the catalog: sources, ingest, quality, labels, splits, the demo catalog, the schemas."""
