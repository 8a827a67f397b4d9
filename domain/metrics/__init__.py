"""The hub's own numbers (section 12.1), over all tenants."""
