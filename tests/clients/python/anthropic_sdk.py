"""The unmodified anthropic package for Python."""

import anthropic

from common import ANSWER, BASE, QUESTION, SCHEMA, run, show, weather

client = anthropic.Anthropic(base_url=BASE, api_key="k", max_retries=2)
user = [{"role": "user", "content": QUESTION}]
tools = [{"name": "weather", "description": "Tell the weather.", "input_schema": SCHEMA}]
cached = {"cache_control": {"type": "ephemeral"}}


def messages():
    for model, more in [
        ("claude-sonnet-4-5", {}),
        ("claude-opus-4-8", {"system": [{"type": "text", "text": "Be brief.", **cached}]}),
        ("claude-sonnet-4-5", {"extra_body": {"top_p": 0.9}}),
        ("claude-sonnet-4-5", {"thinking": {"type": "enabled", "budget_tokens": 10000}, "max_tokens": 16000}),
        ("claude-opus-4-8", {"thinking": {"type": "adaptive"}, "metadata": {"user_id": "u" * 200}}),
    ]:
        told = client.messages.create(**({"model": model, "max_tokens": 4000, "messages": user} | more))
        assert told.content[-1].text == f"You said: {QUESTION}", told
        assert (told.content[0].type == "thinking") == ("thinking" in more), told
        show(told)
        with client.messages.stream(
            **({"model": model, "max_tokens": 4000, "messages": user} | more)
        ) as stream:
            for event in stream:
                pass
            final = stream.get_final_message()
        assert final.content[-1].text == f"You said: {QUESTION}", final
        show(final)


def messages_tools():
    for stream, thinking in [(False, None), (True, None), (True, {"type": "enabled", "budget_tokens": 1024})]:
        history = [{"role": "user", "content": [{"type": "text", "text": QUESTION, **cached}]}]
        body = {"model": "claude-sonnet-4-5", "max_tokens": 64000, "tools": tools}
        if thinking:
            body["thinking"] = thinking
        while True:
            if stream:
                with client.messages.stream(messages=history, **body) as events:
                    told = events.get_final_message()
            else:
                told = client.messages.create(messages=history, timeout=60, **body)
            show(told)
            history.append({"role": "assistant", "content": [b.to_dict() for b in told.content]})
            calls = [block for block in told.content if block.type == "tool_use"]
            if not calls:
                break
            assert len(calls) == 2 and told.stop_reason == "tool_use", told
            results = [
                {"type": "tool_result", "tool_use_id": call.id, "content": weather(**call.input)}
                for call in calls
            ]
            history.append({"role": "user", "content": results})
        assert told.content[-1].text == ANSWER, told


def messages_beta():
    told = client.beta.messages.create(
        model="claude-opus-4-8",
        max_tokens=4000,
        betas=["context-management-2025-06-27", "interleaved-thinking-2025-05-14"],
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        messages=user,
    )
    assert told.content[-1].text == f"You said: {QUESTION}", told
    show(told)


def messages_count():
    counted = client.messages.count_tokens(model="claude-sonnet-4-5", messages=user, tools=tools)
    assert counted.input_tokens > 10, counted


def messages_errors():
    for word, error, status in [
        ("context_length_exceeded", anthropic.BadRequestError, 400),
        ("model_not_found", anthropic.NotFoundError, 404),
        ("request_too_large", anthropic.APIStatusError, 413),
    ]:
        told = {"max_tokens": 9, "model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": f"fail {word}"}]}
        for ask in [client.messages.create, lambda **body: list(client.messages.create(stream=True, **body))]:
            try:
                ask(**told)
            except error as caught:
                assert caught.status_code == status, caught
                assert caught.body["type"] == "error", caught.body
                show([status, caught.body["error"]["type"]])
            else:
                raise AssertionError(word)


run({name: part for name, part in globals().items() if name.startswith("messages")})
