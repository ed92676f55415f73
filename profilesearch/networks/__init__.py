"""Networks as plain data: architectures, channel groups, cost, criteria, surgery, files."""
