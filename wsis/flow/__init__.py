"""What a workflow has to do: work and jobs of a target, their time, and how far they are."""
