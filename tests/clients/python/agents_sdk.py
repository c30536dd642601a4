"""The unmodified openai-agents package: an agent with a tool, on both APIs of OpenAI."""

import asyncio

from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
from agents import set_tracing_disabled
from openai import AsyncOpenAI

from common import ANSWER, BASE, QUESTION, run, show, weather

set_tracing_disabled(True)


async def ask(kind):
    client = AsyncOpenAI(base_url=f"{BASE}/v1", api_key="k", max_retries=2)
    agent = Agent(
        name="Guide",
        instructions="Be brief.",
        tools=[function_tool(weather)],
        model=kind(model="gpt-4.1", openai_client=client),
    )
    whole = await Runner.run(agent, QUESTION)
    assert whole.final_output == ANSWER, whole
    streamed = Runner.run_streamed(agent, QUESTION)
    async for event in streamed.stream_events():
        pass
    assert streamed.final_output == ANSWER, streamed
    again = await Runner.run(agent, [*whole.to_input_list(), {"role": "user", "content": QUESTION}])
    assert again.final_output == ANSWER, again
    show([whole.final_output, streamed.final_output, again.final_output])


def chat():
    asyncio.run(ask(OpenAIChatCompletionsModel))


def responses():
    asyncio.run(ask(OpenAIResponsesModel))


run({"chat": chat, "responses": responses})
