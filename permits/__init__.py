"""The language all rooms speak: documents, the SMS grammar, policy, decisions, replies. Pure: no store, no clock."""
