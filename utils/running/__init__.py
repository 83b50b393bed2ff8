"""A per-sample function over all samples, and the command line around it."""
