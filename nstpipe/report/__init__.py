"""Makes the report of a run from the journal, the log and the files. Decides nothing."""
