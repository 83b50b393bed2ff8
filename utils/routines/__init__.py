"""What the numbered scripts do for one sample or one table."""
