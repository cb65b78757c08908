"""Speaking as a service: the HTTP interface and its page, workers that speak, keys and quotas, Home Assistant."""
