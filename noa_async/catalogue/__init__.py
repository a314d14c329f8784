"""Query the catalogue: build queries, list the products that match, parse their entries."""
