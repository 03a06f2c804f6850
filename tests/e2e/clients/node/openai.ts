// The official OpenAI package for TypeScript, unchanged but for its base URL. Prints what it saw as one JSON object.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.GATEWAY_URL, apiKey: "sk-local", maxRetries: 0 });
const model = "local/simulator";
const hello = [{ role: "user" as const, content: "Say hello to the world." }];

const whole = await client.chat.completions.create({ model, messages: hello });

let streamed = "";
let pieces = 0;
let usage: unknown = null;
const stream = await client.chat.completions.create({
  model,
  messages: hello,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  if (chunk.choices[0]?.delta.content) {
    streamed += chunk.choices[0].delta.content;
    pieces += 1;
  }
  usage = chunk.usage ?? usage;
}

const tooled = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: "What is the weather in Paris?" }],
  tools: [
    {
      type: "function",
      function: {
        name: "get_weather",
        description: "Get the current weather in a city.",
        parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
      },
    },
  ],
});

const parsed = await client.chat.completions.parse({
  model,
  messages: [{ role: "user", content: "Describe Paris." }],
  response_format: {
    type: "json_schema",
    json_schema: {
      name: "city",
      strict: true,
      schema: {
        type: "object",
        properties: { name: { type: "string" }, population: { type: "integer" } },
        required: ["name", "population"],
        additionalProperties: false,
      },
    },
  },
});

async function raised(request: () => Promise<unknown>): Promise<string> {
  try {
    await request();
    return "nothing";
  } catch (error) {
    return `${(error as Error).constructor.name} ${(error as { code?: string }).code}`;
  }
}

const models = [];
for await (const one of client.models.list()) models.push(one.id);

console.log(
  JSON.stringify({
    whole: whole.choices[0].message.content,
    streamed,
    pieces,
    usage: JSON.stringify(usage) === JSON.stringify(whole.usage),
    call: tooled.choices[0].message.tool_calls?.[0],
    finish: tooled.choices[0].finish_reason,
    parsed: parsed.choices[0].message.parsed,
    models,
    model: (await client.models.retrieve(model)).id,
    errors: {
      400: await raised(() => client.chat.completions.create({ model, messages: hello, temperature: 3 })),
      401: await raised(() => client.withOptions({ apiKey: "sk-wrong" }).models.list()),
      404: await raised(() => client.chat.completions.create({ model: "no/such", messages: hello })),
    },
  }),
);
