// The Vercel AI SDK through its OpenAI-compatible provider. Prints what it saw as one JSON object.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const gateway = createOpenAICompatible({
  name: "gateway",
  baseURL: process.env.GATEWAY_URL!,
  apiKey: "sk-local",
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = gateway("local/simulator");
const prompt = "Say hello to the world.";

const whole = await generateText({ model, prompt });

const stream = streamText({ model, prompt });
let streamed = "";
let pieces = 0;
for await (const text of stream.textStream) {
  streamed += text;
  pieces += 1;
}

const tooled = await generateText({
  model,
  prompt: "What is the weather in Paris?",
  stopWhen: stepCountIs(3),
  tools: {
    get_weather: tool({
      description: "Get the current weather in a city.",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => ({ city, temperature: 21 }),
    }),
  },
});

let error = "nothing";
try {
  await generateText({ model: gateway("no/such"), prompt, maxRetries: 0 });
} catch (raised) {
  error = APICallError.isInstance(raised) ? `APICallError ${raised.statusCode}` : String(raised);
}

console.log(
  JSON.stringify({
    whole: whole.text,
    streamed,
    pieces,
    finish: whole.finishReason,
    tokens: (await stream.usage).totalTokens === whole.usage.totalTokens,
    steps: tooled.steps.length,
    calls: tooled.steps[0].toolCalls.map((call) => ({ name: call.toolName, input: call.input })),
    answer: tooled.text,
    error,
  }),
);
