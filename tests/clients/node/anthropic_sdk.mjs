// The unmodified anthropic package for Node.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { answer, base, question, run, show, weather } from "./common.mjs";

const client = new Anthropic({ baseURL: base, apiKey: "k", maxRetries: 2 });

await run({
  messages: async () => {
    const input_schema = { type: "object", properties: { city: { type: "string" } } };
    const body = {
      model: "claude-sonnet-4-5",
      max_tokens: 9000,
      thinking: { type: "enabled", budget_tokens: 2000 },
      tools: [{ name: "weather", description: "Weather.", input_schema }],
    };
    const messages = [{ role: "user", content: question }];
    let final;
    do {
      final = await client.messages.stream({ ...body, messages }).finalMessage();
      show(final);
      messages.push({ role: "assistant", content: final.content });
      const calls = final.content.filter((block) => block.type === "tool_use");
      const content = calls.map(({ id, input }) => {
        return { type: "tool_result", tool_use_id: id, content: weather(input.city) };
      });
      messages.push({ role: "user", content });
    } while (final.stop_reason === "tool_use");
    assert.equal(final.content.at(-1).text, answer);
  },
});
