"""What commands share: options, the workspace that they open, and how they talk."""
