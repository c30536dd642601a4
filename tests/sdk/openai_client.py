"""Test of the unmodified openai package: chat, stream, tools, embeddings, models, errors, a refusal."""

import os

import openai
from openai import OpenAI

base = os.environ["MLSDM_BASE_URL"]
client = OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=2)

told = client.chat.completions.create(
    model="default", messages=[{"role": "user", "content": "My dog is called Rex"}], user="ann"
)
assert told.choices[0].finish_reason == "stop", told
assert told.usage.total_tokens > 0
assert told.mlsdm["position"] > 1, told.mlsdm
assert told.id == "chatcmpl-" + told.mlsdm["id"], told

raw = client.chat.completions.with_raw_response.create(
    model="default",
    messages=[{"role": "user", "content": "What is my dog called?"}],
    user="ann",
    extra_body={"mlsdm": {"moral_value": 0.9, "context_top_k": 3}},
)
assert raw.headers["x-mlsdm-context-items"] == "1", dict(raw.headers)

text, usage, receipt = "", None, None
with client.chat.completions.create(
    model="default",
    messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
    stream=True,
    stream_options={"include_usage": True},
) as stream:
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
        receipt = getattr(chunk, "mlsdm", None) or receipt
assert text.endswith("You said: Hello"), text
assert usage.completion_tokens > 0 and receipt["outcome"] == "completed"

refused = client.chat.completions.create(
    model="default", messages=[{"role": "user", "content": "attack kill destroy"}]
)
assert refused.choices[0].finish_reason == "content_filter", refused
assert refused.choices[0].message.refusal == "morally rejected"

floats = client.embeddings.create(model="default", input="Hello", encoding_format="float")
packed = client.embeddings.create(model="default", input=["Hello", "there"])
assert len(packed.data) == 2
near = zip(floats.data[0].embedding, packed.data[0].embedding)
assert all(abs(a - b) < 1e-6 for a, b in near)

assert [model.id for model in client.models.list()] == ["local-stub"]
judged = client.moderations.create(input="attack kill destroy")
assert judged.results[0].flagged

for bad, error in [
    ({"messages": []}, openai.BadRequestError),
    ({"messages": [{"role": "user", "content": "x"}], "n": 2}, openai.BadRequestError),
    ({"messages": [{"role": "user", "content": "x"}], "model": "nobody/x"}, openai.NotFoundError),
]:
    try:
        client.chat.completions.create(**({"model": "default"} | bad))
    except error as caught:
        assert caught.code.startswith("E"), caught
    else:
        raise AssertionError(bad)
