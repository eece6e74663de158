"""The edge in: aggregators' dialects, signatures, and the group commit into the partitioned streams."""
