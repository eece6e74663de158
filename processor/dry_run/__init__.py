"""The dry run: what another policy would have decided of what the archive holds, by `icaze replay --dry-run`."""
