"""Files on web servers and in S3 buckets, read by requests; for stores and for sources alike."""
