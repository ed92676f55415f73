"""What `apply` does, below its door: prune, refit and fine-tune a network, and write the result."""
