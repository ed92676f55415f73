"""The score of a profile on a model, the ledger, and the problem that searchers solve."""
