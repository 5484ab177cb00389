"""A training outside of any table, on somebody's own images (`wsis fit`)."""
