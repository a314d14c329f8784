"""Who we are to the service: credentials, and the one token all workers share."""
