"""What the scripts share. Each runs against a provider that repeats prompts and calls each tool twice."""

import json
import os
import sys

BASE = os.environ["MLSDM_BASE_URL"]
QUESTION = "How is the weather?"
ANSWER = "It is sunny in Rome and It is sunny in Oslo"

# the same tool for the Chat Completions API, for Messages and for the Responses API
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}"


def bare(value):
    """A copy without the governance data of the server."""
    if isinstance(value, dict):
        return {k: bare(v) for k, v in value.items() if k != "mlsdm"}
    return [bare(v) for v in value] if isinstance(value, list) else value


seen = []


def show(value):
    """Keeps what the client received, for the comparison with the provider itself."""
    seen.append(bare(value.model_dump(mode="json") if hasattr(value, "model_dump") else value))


def run(parts):
    """Runs the part that the command line names and prints what the client received."""
    parts[sys.argv[1]]()
    print(json.dumps(seen, sort_keys=True))
