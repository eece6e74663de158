"""The core loop: lanes that read, validate and decide; dead letters; the checker of the audit trail."""
