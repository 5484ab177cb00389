"""The sections of a recipe, a file each. Every key carries the paper's symbol or section."""
