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


# the server names answers itself, and asks for a stream where a client does not: fields without a
# content are absent then
OWN_IDS = ("msg_", "chatcmpl-", "resp_")


def bare(value):
    """A copy without what the server adds or names itself, and without empty fields."""
    if isinstance(value, dict):
        fields = {k: bare(v) for k, v in value.items() if k not in ("mlsdm", "created", "created_at")}
        own = isinstance(fields.get("id"), str) and fields["id"].startswith(OWN_IDS)
        empty = lambda k, v: v in (None, "", []) or (k == "id" and own)
        return {k: v for k, v in fields.items() if not empty(k, v)}
    return [bare(v) for v in value] if isinstance(value, list) else value


seen = []


def show(value):
    """Keeps what the client received, for the comparison with the provider itself."""
    seen.append(bare(value.model_dump(mode="json") if hasattr(value, "model_dump") else value))


def run(parts):
    """Runs the part that the command line names and prints what the client received."""
    parts[sys.argv[1]]()
    print(json.dumps(seen, sort_keys=True))
