"""`icaze verify`: holds the promises against the audit trail, the journal, the operator's log and the store at rest."""
