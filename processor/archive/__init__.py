"""The archive of the trails: written by each worker for the partitions it holds, proved by `icaze audit`."""
