"""What `groups`, `list`, `pool` and `report` do: they show what there is, and what is missing in a pool is trained."""
