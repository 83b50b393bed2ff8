"""The quality report: what is measured, judged, drawn and shown of every sample."""
