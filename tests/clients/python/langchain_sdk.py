"""The unmodified langchain-openai and langchain-anthropic packages: tools, streams, structured answers."""

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from common import ANSWER, BASE, QUESTION, run, show
from common import weather as told


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return told(city)


class Thought(BaseModel):
    """A thought."""

    reasoning: str
    answer: str


def loop(model, streamed):
    bound, history = model.bind_tools([weather]), [HumanMessage(QUESTION)]
    while True:
        if streamed:
            answer = None
            for piece in bound.stream(history):
                answer = piece if answer is None else answer + piece
        else:
            answer = bound.invoke(history)
        history.append(answer)
        if not answer.tool_calls:
            break
        assert len(answer.tool_calls) == 2, answer
        for call in answer.tool_calls:
            history.append(ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]))
    assert answer.text == ANSWER, answer
    show(answer.text)


def both(model):
    for streamed in [False, True]:
        loop(model, streamed)
    answer = model.invoke(QUESTION)
    assert answer.text == f"You said: {QUESTION}" and answer.usage_metadata["output_tokens"] > 0, answer
    show([answer.text, answer.usage_metadata])


def openai(**more):
    model = ChatOpenAI(model="gpt-4.1", base_url=f"{BASE}/v1", api_key="k", **more)
    both(model)
    thought = model.with_structured_output(Thought).invoke(QUESTION)
    assert (thought.reasoning, thought.answer) == ("the reasoning", "the answer"), thought
    reasons = ChatOpenAI(model="o3", base_url=f"{BASE}/v1", api_key="k", **more)
    assert reasons.invoke(QUESTION).text == f"You said: {QUESTION}"


def anthropic():
    both(ChatAnthropic(model="claude-sonnet-4-5", base_url=BASE, api_key="k", max_tokens=4000))
    model = ChatAnthropic(
        model="claude-sonnet-4-5", base_url=BASE, api_key="k", max_tokens=9000,
        thinking={"type": "enabled", "budget_tokens": 2000},
    )
    for streamed in [False, True]:
        loop(model, streamed)


run({
    "chat": lambda: openai(use_responses_api=False),
    "responses": lambda: openai(use_responses_api=True),
    "messages": anthropic,
})
