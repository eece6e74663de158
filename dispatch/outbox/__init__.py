"""What follows from changes of employees' permits: the index, the Ministry's feed, and forgetting in time."""
