"""Videos and folders of pictures: read as frames, written from frames, with all that is not pixels."""
