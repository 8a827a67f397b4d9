"""What a client of plain HTTP needs of TLS: nothing."""

import ssl

#: The `verify` of an httpx client: otherwise each loads the system's roots, which takes 20 ms of CPU.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
