// Test of the unmodified ai package: a text and a streamed text.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

const baseURL = `${process.env.MLSDM_BASE_URL}/v1`;
const model = createOpenAICompatible({ name: "mlsdm", baseURL })("default");

const told = await generateText({ model, prompt: "My dog is called Rex" });
assert.match(told.text, /You said: My dog is called Rex$/);
assert.equal(told.finishReason, "stop");

const pieces = [];
const stream = streamText({ model, prompt: "Hello" });
for await (const piece of stream.textStream) {
  pieces.push(piece);
}
assert.match(pieces.join(""), /You said: Hello$/);
assert.ok(pieces.length > 3);
assert.equal(await stream.finishReason, "stop");
