"""What a work folder remembers: the journal, its log, and the finished frames that wait to be encoded."""
