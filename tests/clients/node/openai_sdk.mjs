// The unmodified openai package for Node.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { answer, base, question, run, show, weather } from "./common.mjs";

const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "k", maxRetries: 2 });
const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};

await run({
  chat: async () => {
    const messages = [{ role: "user", content: question }];
    const told = await client.chat.completions.create({ model: "o3", messages });
    assert.equal(told.choices[0].message.content, `You said: ${question}`);
    show(told);
    const stream = client.chat.completions.stream({ model: "gpt-4.1", messages });
    show(await stream.finalChatCompletion());
    const tool = {
      type: "function",
      function: {
        name: "weather",
        parameters,
        parse: JSON.parse,
        function: ({ city }) => weather(city),
      },
    };
    for (const stream of [true, false]) {
      const body = { model: "gpt-4.1", messages, tools: [tool], stream };
      const final = await client.chat.completions.runTools(body).finalContent();
      assert.equal(final, answer);
      show(final);
    }
    const fail = [{ role: "user", content: "fail context_length_exceeded" }];
    await assert.rejects(
      client.chat.completions.create({ model: "gpt-4.1", messages: fail }),
      (error) => error.status === 400 && error.code === "context_length_exceeded",
    );
  },
  responses: async () => {
    const told = await client.responses.create({ model: "gpt-5", input: question });
    assert.equal(told.output_text, `You said: ${question}`);
    const tools = [{ type: "function", name: "weather", parameters, strict: true }];
    const input = [{ role: "user", content: question }];
    let final;
    for (;;) {
      const stream = client.responses.stream({ model: "gpt-4.1", input, tools, store: false });
      final = await stream.finalResponse();
      const calls = final.output.filter((item) => item.type === "function_call");
      if (calls.length === 0) {
        break;
      }
      assert.equal(calls.length, 2);
      input.push(...final.output.map(({ parsed_arguments, ...item }) => item));
      for (const call of calls) {
        const { city } = JSON.parse(call.arguments);
        input.push({ type: "function_call_output", call_id: call.call_id, output: weather(city) });
      }
    }
    const text = final.output.flatMap((item) => item.content ?? []).map((part) => part.text);
    assert.deepEqual(text, [answer]);
    show([told.output_text, text]);
  },
});
