"""The client of the document that ddb_lake follows, run against the embedded AWS; see `make test-author-client`."""
