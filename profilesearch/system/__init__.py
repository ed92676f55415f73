"""Files, folders and processes."""
