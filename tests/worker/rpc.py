"""The messages of FunctionRpc, compiled when they are first used. Runs in the worker's environment alone."""

from __future__ import annotations

import hashlib
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

_SOURCE = Path(__file__).with_name("function_rpc.proto")
EVENT_STREAM = "/AzureFunctionsRpcMessages.FunctionRpc/EventStream"
#: Neither end limits a message, as in Azure.
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def messages() -> Any:
    """The module of the message classes."""
    digest = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:16]
    compiled = Path(sys.prefix) / "function-rpc" / digest
    if not compiled.exists():
        compiled.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=compiled.parent) as folder:
            from grpc_tools import protoc

            target = Path(folder) / "made"
            target.mkdir()
            arguments = ["protoc", f"-I{_SOURCE.parent}", f"--python_out={target}", _SOURCE.name]
            # Where grpcio-tools keeps the types of google.protobuf.
            arguments.insert(1, f"-I{Path(protoc.__file__).parent / '_proto'}")
            if protoc.main(arguments):
                raise RuntimeError(f"{_SOURCE} does not compile")
            try:
                target.rename(compiled)
            except OSError:  # another process was faster
                assert compiled.exists()
    sys.path.append(str(compiled))
    return importlib.import_module("function_rpc_pb2")
