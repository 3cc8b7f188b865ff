"""`csirt bench NAME`: ours beside the peers that are installed, fresh processes, medians (the command contract)."""
