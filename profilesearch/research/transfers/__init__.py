"""What transfers: compressed networks carried from one data set to others."""
