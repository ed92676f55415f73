"""Experiments on the claims behind the project: the study, and what transfers."""
