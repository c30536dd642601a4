// The unmodified ai package with its three providers: a text, tools in a loop, an object.
import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { answer, base, question, run, show, weather } from "./common.mjs";

const openai = createOpenAI({ baseURL: `${base}/v1`, apiKey: "k" });
const anthropic = createAnthropic({ baseURL: `${base}/v1`, apiKey: "k" });
const compatible = createOpenAICompatible({ name: "mlsdm", baseURL: `${base}/v1`, apiKey: "k" });
const tools = {
  weather: tool({
    description: "Tell the weather of a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => weather(city),
  }),
};

const converse = async (model, object, providerOptions) => {
  const told = await generateText({ model, prompt: question, providerOptions });
  assert.equal(told.text, `You said: ${question}`);
  const stopWhen = stepCountIs(4);
  const whole = await generateText({ model, prompt: question, tools, stopWhen, providerOptions });
  assert.equal(whole.text, answer);
  const errors = [];
  const onError = ({ error }) => errors.push(error);
  const stream = streamText({ model, prompt: question, tools, stopWhen, providerOptions, onError });
  await stream.consumeStream();
  assert.deepEqual(errors, []);
  assert.equal(await stream.text, answer);
  assert.equal((await stream.steps).length, 2);
  show([told.text, whole.text, told.finishReason, whole.steps.length]);
  if (object) {
    const schema = z.object({ reasoning: z.string(), answer: z.string() });
    const thought = await generateObject({ model, schema, prompt: question });
    assert.deepEqual(Object.keys(thought.object), ["reasoning", "answer"]);
  }
};

await run({
  chat: async () => {
    await converse(openai.chat("gpt-4.1"), true);
    await converse(openai.chat("o3"), false);
    await converse(compatible("gpt-4.1"), false);
  },
  responses: async () => {
    await converse(openai("gpt-4.1"), true);
    await converse(openai("gpt-5"), false, { openai: { store: false, reasoningEffort: "low" } });
  },
  messages: async () => {
    await converse(anthropic("claude-sonnet-4-5"), false);
    const thinking = { type: "enabled", budgetTokens: 2000 };
    await converse(anthropic("claude-sonnet-4-5"), false, { anthropic: { thinking } });
  },
});
