// Test of the unmodified openai package: chat, stream, embeddings, an error, a refusal.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.MLSDM_BASE_URL}/v1`, apiKey: "none" });
const say = (content, more = {}) =>
  client.chat.completions.create({
    model: "default",
    messages: [{ role: "user", content }],
    ...more,
  });

const told = await say("My dog is called Rex");
assert.match(told.choices[0].message.content, /You said: My dog is called Rex$/);

let text = "";
for await (const chunk of await say("Hello", { stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? "";
}
assert.match(text, /You said: Hello$/);

const refused = await say("attack kill destroy");
assert.equal(refused.choices[0].finish_reason, "content_filter");

const made = await client.embeddings.create({ model: "default", input: ["Hello", "there"] });
assert.deepEqual(made.data.map((one) => one.embedding.length), [384, 384]);

await assert.rejects(say("Hello", { n: 2 }), OpenAI.BadRequestError);
