"""Test of the unmodified anthropic package: a message, a stream, an error, a refusal."""

import os

import anthropic

client = anthropic.Anthropic(base_url=os.environ["MLSDM_BASE_URL"], api_key="none")

told = client.messages.create(
    model="default",
    max_tokens=100,
    system="Be brief.",
    metadata={"user_id": "ann"},
    messages=[{"role": "user", "content": "My dog is called Rex"}],
)
assert told.stop_reason == "end_turn", told
assert told.content[0].text.endswith("You said: My dog is called Rex")
assert told.usage.output_tokens > 0

with client.messages.stream(
    model="default", max_tokens=100, messages=[{"role": "user", "content": "Hello"}]
) as stream:
    text = "".join(stream.text_stream)
    final = stream.get_final_message()
assert text.endswith("You said: Hello"), text
assert final.content[0].text == text and final.stop_reason == "end_turn"
assert final.usage.output_tokens > 0

refused = client.messages.create(
    model="default", max_tokens=9, messages=[{"role": "user", "content": "attack kill destroy"}]
)
assert refused.stop_reason == "refusal" and refused.content == [], refused

try:
    client.messages.create(model="default", max_tokens=9, messages=[])
except anthropic.BadRequestError as error:
    assert error.body["error"]["type"] == "invalid_request_error", error.body
else:
    raise AssertionError("an empty chat was accepted")
