"""The unmodified openai package for Python."""

import openai
from openai import OpenAI
from pydantic import BaseModel

from common import ANSWER, BASE, QUESTION, SCHEMA, run, show, weather

client = OpenAI(base_url=f"{BASE}/v1", api_key="k", max_retries=2)
user = [{"role": "user", "content": QUESTION}]
tools = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "strict": True}}]
flat = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}]


class Thought(BaseModel):
    reasoning: str
    answer: str


def chat():
    for model, more in [
        ("gpt-4.1", {}),
        ("gpt-4.1", {"temperature": 0.3, "max_tokens": 4000, "seed": 7}),
        ("o3", {"max_completion_tokens": 20000, "reasoning_effort": "low"}),
        ("gpt-5-mini", {"n": 1, "verbosity": "low"}),
    ]:
        told = client.chat.completions.create(model=model, messages=user, **more)
        assert told.choices[0].message.content == f"You said: {QUESTION}", told
        assert told.choices[0].finish_reason == "stop" and told.model.startswith(model), told
        assert told.system_fingerprint == "fp_strict", told
        show(told)
    parts = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}]
    show(client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": parts}]))


def chat_stream():
    chunks = []
    for chunk in client.chat.completions.create(
        model="gpt-4.1", messages=user, stream=True, stream_options={"include_usage": True}
    ):
        chunks += [c.delta.content or "" for c in chunk.choices]
    assert "".join(chunks) == f"You said: {QUESTION}", chunks
    with client.chat.completions.stream(
        model="o3", messages=user, stream_options={"include_usage": True}
    ) as stream:
        for event in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == f"You said: {QUESTION}", final
    show(final)


def chat_tools():
    messages = [{"role": "system", "content": "Be brief."}, *user]
    while True:
        with client.chat.completions.stream(model="gpt-4.1", messages=messages, tools=tools) as stream:
            for event in stream:
                pass
            message = stream.get_final_completion().choices[0].message
        messages.append(message.to_dict())
        if not message.tool_calls:
            break
        assert len(message.tool_calls) == 2, message
        for call in message.tool_calls:
            result = weather(**call.function.parsed_arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    assert message.content == ANSWER, messages
    show(messages[-1]["content"])
    whole = client.chat.completions.create(model="gpt-4.1", messages=user, tools=tools)
    assert [c.function.arguments for c in whole.choices[0].message.tool_calls] == [
        '{"city":"Rome"}',
        '{"city":"Oslo"}',
    ], whole
    show(whole)


def chat_structured():
    told = client.chat.completions.parse(model="gpt-4.1", messages=user, response_format=Thought)
    # the provider writes the properties in the order of the schema
    assert told.choices[0].message.content.startswith('{"reasoning"'), told
    assert told.choices[0].message.parsed.answer == "the answer", told
    with client.chat.completions.stream(model="o3", messages=user, response_format=Thought) as stream:
        for event in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed.reasoning == "the reasoning", final
    show(told)
    show(final)


def fails(ask, error, status, code):
    try:
        ask()
    except error as caught:
        assert (caught.status_code, caught.code) == (status, code), (caught, caught.body)
        show([caught.status_code, caught.code, caught.param])
    else:
        raise AssertionError(code)


def chat_errors():
    once = client.with_options(max_retries=0)
    for word, error, status, code in [
        ("context_length_exceeded", openai.BadRequestError, 400, "context_length_exceeded"),
        ("model_not_found", openai.NotFoundError, 404, "model_not_found"),
        ("insufficient_quota", openai.RateLimitError, 429, "insufficient_quota"),
    ]:
        # retries are on: an error of the caller is not sent again
        told = [{"role": "user", "content": f"fail {word}"}]
        fails(lambda: client.chat.completions.create(model="gpt-4.1", messages=told), error, status, code)
        fails(
            lambda: list(once.chat.completions.create(model="gpt-4.1", messages=told, stream=True)),
            error,
            status,
            code,
        )


def responses():
    for model, more in [
        ("gpt-4.1", {}),
        ("o3", {"reasoning": {"effort": "low", "summary": "auto"}, "max_output_tokens": 9000}),
        ("gpt-5", {"instructions": "Be brief.", "store": False, "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low"}}),
    ]:
        told = client.responses.create(model=model, input=QUESTION, **more)
        assert told.output_text == f"You said: {QUESTION}", told
        assert told.status == "completed" and told.usage.output_tokens > 0, told
        show([told.output_text, told.status, [item.type for item in told.output]])
        with client.responses.stream(model=model, input=user, **more) as stream:
            for event in stream:
                pass
            final = stream.get_final_response()
        assert final.output_text == f"You said: {QUESTION}", final
        show([final.output_text, final.status, [item.type for item in final.output]])


def responses_tools():
    items = [{"role": "user", "content": QUESTION}]
    while True:
        told = client.responses.create(
            model="gpt-5", input=items, tools=flat, store=False, include=["reasoning.encrypted_content"], reasoning={"effort": "low"}
        )
        items += [item.to_dict() for item in told.output]
        calls = [item for item in told.output if item.type == "function_call"]
        if not calls:
            break
        assert len(calls) == 2, told
        for call in calls:
            output = weather(**__import__("json").loads(call.arguments))
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": output})
    assert told.output_text == ANSWER, items
    show(told.output_text)


def responses_state():
    first = client.responses.create(model="gpt-4.1", input=QUESTION, tools=flat)
    calls = [item for item in first.output if item.type == "function_call"]
    outputs = [
        {"type": "function_call_output", "call_id": call.call_id, "output": weather(city)}
        for call, city in zip(calls, ["Rome", "Oslo"])
    ]
    with client.responses.stream(
        model="gpt-4.1", input=outputs, tools=flat, previous_response_id=first.id
    ) as stream:
        for event in stream:
            pass
        second = stream.get_final_response()
    assert second.output_text == ANSWER, second
    show(second.output_text)


def responses_structured():
    told = client.responses.parse(model="gpt-4.1", input=QUESTION, text_format=Thought)
    assert told.output_text.startswith('{"reasoning"'), told
    assert told.output_parsed.answer == "the answer", told
    with client.responses.stream(model="gpt-5", input=QUESTION, text_format=Thought) as stream:
        for event in stream:
            pass
        assert stream.get_final_response().output_parsed.answer == "the answer"
    show(told.output_text)


def responses_errors():
    word = "context_length_exceeded"
    fails(
        lambda: client.responses.create(model="gpt-4.1", input=f"fail {word}"),
        openai.BadRequestError,
        400,
        word,
    )
    try:
        client.responses.create(model="gpt-4.1", input="x", previous_response_id="resp_unknown")
    except openai.APIStatusError as caught:
        assert caught.status_code in (400, 404), caught
    else:
        raise AssertionError("an unknown response was accepted")


run({name: part for name, part in globals().items() if name.startswith(("chat", "responses"))})
