import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const readme = readFileSync("README.md", "utf8");

test("the code in the README is examples/quick-start.ts, which runs", () => {
  const [, code] = /```ts\n([\s\S]*?)```/.exec(readme) ?? [];
  const example = readFileSync("examples/quick-start.ts", "utf8");
  expect(code).toBe(
    example
      .replace("../src/index.ts", "meta-agent-db")
      .replace("../src/schema/governance.ts", "meta-agent-db/governance"),
  );
});

test("every npm script that the README names exists", () => {
  const { scripts }: { scripts: Record<string, string> } = JSON.parse(
    readFileSync("package.json", "utf8"),
  );
  for (const [, name = ""] of readme.matchAll(/npm run ([a-z:]+)/g)) {
    expect(scripts, name).toHaveProperty(name);
  }
});
