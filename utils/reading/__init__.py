"""Where the reader takes its samples from: the finished data set, or the archive."""
