"""Test of the unmodified langchain-openai package: a chat, a stream, embeddings."""

import os

from langchain_openai import ChatOpenAI, OpenAIEmbeddings

base = f"{os.environ['MLSDM_BASE_URL']}/v1"
model = ChatOpenAI(model="default", base_url=base, api_key="none")

answer = model.invoke([("system", "Be brief."), ("human", "My dog is called Rex")])
assert answer.content.endswith("You said: My dog is called Rex"), answer
assert answer.usage_metadata["total_tokens"] > 0

pieces = [piece.content for piece in model.stream("Hello")]
assert "".join(pieces).endswith("You said: Hello") and len(pieces) > 3, pieces

embeddings = OpenAIEmbeddings(
    model="default", base_url=base, api_key="none", check_embedding_ctx_length=False
)
first, second = embeddings.embed_documents(["Hello", "there"])
assert len(first) == len(second) == 384
