"""What the embeddings are for: neighbours, labels that are probably wrong, what to label next."""
