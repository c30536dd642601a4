"""Reads published answers with the official SDKs and prints what they give to an application.

Arguments: the names of files of the corpus. The model of a request is the name of the file.
"""

import json
import sys

import anthropic
from openai import OpenAI

from common import BASE

openai = OpenAI(base_url=f"{BASE}/v1", api_key="k", max_retries=0)
claude = anthropic.Anthropic(base_url=BASE, api_key="k", max_retries=0)
user = [{"role": "user", "content": "How is the weather?"}]


def chat(name, streamed):
    if not streamed:
        return openai.chat.completions.create(model=name, messages=user)
    with openai.chat.completions.stream(
        model=name, messages=user, stream_options={"include_usage": True}
    ) as stream:
        for event in stream:
            pass
        return stream.get_final_completion()


def messages(name, streamed):
    body = {"model": name, "max_tokens": 4000, "messages": user}
    if not streamed:
        return claude.messages.create(**body)
    with claude.messages.stream(**body) as stream:
        for event in stream:
            pass
        return stream.get_final_message()


def responses(name, streamed):
    if not streamed:
        return openai.responses.create(model=name, input="How is the weather?")
    with openai.responses.stream(model=name, input="How is the weather?") as stream:
        for event in stream:
            pass
        return stream.get_final_response()


read = {}
for argument in sys.argv[1:]:
    face, name, form = argument.split(":")
    try:
        answer = {"chat": chat, "messages": messages, "responses": responses}[face](name, form == "stream")
        read[name] = json.loads(answer.model_dump_json(warnings=False))
        read[name].pop("mlsdm", None)
    except Exception as error:
        read[name] = f"{type(error).__name__}: {error}"
print(json.dumps(read))
