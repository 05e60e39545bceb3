"""From embeddings to ranked items: metrics, recommendations."""
