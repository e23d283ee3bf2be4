"""Identity: who may do what. Files of tokens and tenants, certificates, roles; knows neither calls nor jobs."""
