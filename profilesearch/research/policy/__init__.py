"""One policy for any network: its training, its evidence, and what it decides."""
