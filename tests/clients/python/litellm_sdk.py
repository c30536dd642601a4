"""The unmodified litellm package as a client of both dialects."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

from common import ANSWER, BASE, QUESTION, SCHEMA, run, show, weather

litellm.telemetry = False
tools = [{"type": "function", "function": {"name": "weather", "description": "Weather.", "parameters": SCHEMA}}]


def loop(model, base, streamed):
    messages = [{"role": "user", "content": QUESTION}]
    while True:
        told = litellm.completion(
            model=model, messages=messages, tools=tools, api_base=base, api_key="k", stream=streamed
        )
        if streamed:
            told = litellm.stream_chunk_builder(list(told), messages=messages)
        message = told.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        if not message.tool_calls:
            break
        assert len(message.tool_calls) == 2, message
        for call in message.tool_calls:
            result = weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    assert message.content == ANSWER, messages
    show(message.content)


def both(model, base):
    for streamed in [False, True]:
        loop(model, base, streamed)
    told = litellm.completion(
        model=model, messages=[{"role": "user", "content": QUESTION}], api_base=base, api_key="k"
    )
    assert told.choices[0].message.content == f"You said: {QUESTION}", told
    try:
        litellm.completion(
            model=model, messages=[{"role": "user", "content": "fail context_length_exceeded"}],
            api_base=base, api_key="k",
        )
    except litellm.BadRequestError as caught:
        show(caught.status_code)
    else:
        raise AssertionError("the error was lost")


run({
    "chat": lambda: both("openai/gpt-4.1", f"{BASE}/v1"),
    "messages": lambda: both("anthropic/claude-sonnet-4-5", BASE),
})
