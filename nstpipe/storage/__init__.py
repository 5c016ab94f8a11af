"""Remote storage: addresses such as s3://bucket/clips, and the local mirror through which everything else sees them."""
