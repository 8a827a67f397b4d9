"""The product: pure Python and pydantic. No Azure, SQL or HTTP-client import (import-linter enforces it)."""
