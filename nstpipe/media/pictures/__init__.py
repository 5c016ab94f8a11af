"""Pictures: read, written, with their metadata, profiles and masks."""
