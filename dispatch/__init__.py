"""The edge out: replies to the operator, at least once, and knowingly never twice."""
